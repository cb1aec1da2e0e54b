"""Tensor sizes that would cut a quantisation group are refused, as each method's kernels in vLLM 0.32 refuse them."""

from typing import Any

import pytest

from cluster.model_shapes.model_config import shape_from_config
from cluster.model_shapes.model_shape import ModelShape
from cluster.model_shapes.precision import FP8
from tests.unit.cluster.quantisation.test_formats_read import FP8_TOKENS, INT4, MIXTURE, NV4, tensors

QWEN = {
    "model_type": "qwen2",
    "hidden_size": 8192,
    "intermediate_size": 29568,  # 231 groups of 128
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "num_hidden_layers": 2,
    "vocab_size": 1024,
}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128}
GPTQ = {"quant_method": "gptq", "bits": 8, "group_size": 128}


def with_(quantisation: dict[str, Any], model: dict[str, Any], **changes: object) -> ModelShape:
    """Return the shape of `model` with changes and that `quantization_config`."""
    return shape_from_config({**model, **changes, "quantization_config": quantisation}, "m")


@pytest.mark.parametrize(
    ("quantisation", "sizes"),
    [
        (AWQ, [1]),
        (GPTQ, [1]),
        ({**GPTQ, "group_size": 64}, [1, 2]),
        ({**GPTQ, "group_size": 32}, [1, 2, 4]),
        ({**GPTQ, "group_size": -1}, [1, 2, 4, 8, 16, 32, 64]),
        (tensors(INT4, "pack-quantized"), [1]),
        (tensors(NV4, "nvfp4-pack-quantized", NV4), [1, 2, 4, 8]),  # 29568 / 16 = 1848 = 8 x 231
        (
            tensors({"num_bits": 8, "type": "float", "strategy": "channel"}, "float-quantized", FP8_TOKENS),
            [1, 2, 4, 8, 16, 32, 64],
        ),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, [1]),
        ({"quant_method": "fp8"}, [1, 2, 4, 8, 16, 32, 64]),
    ],
)
def test_sizes_of_an_mlp_of_231_groups(quantisation: dict[str, Any], sizes: list[int]) -> None:
    """No even size divides 231 groups of 128; smaller groups allow more, one scale for each output allows all."""
    assert with_(quantisation, QWEN).tensor_sizes(64) == sizes


def test_the_reason_names_the_width_the_share_and_the_group() -> None:
    """In words an operator can act on; the same model in another format has no such rule."""
    model = with_(AWQ, QWEN)
    assert model.why_not_tensor(2) == "MLP width 29568 / 2 = 14784 would cut a quantisation group of 128"
    assert model.in_precision(FP8).why_not_tensor(2) == ""
    blocks = with_({"quant_method": "fp8", "weight_block_size": [128, 128]}, QWEN)
    assert blocks.why_not_tensor(2) == "MLP width 29568 / 2 = 14784 would cut a scale block of 128"


def test_what_is_left_unquantised_may_be_cut_anywhere() -> None:
    """The rule is of the quantised matrices alone."""
    assert with_({**AWQ, "modules_to_not_convert": ["mlp"]}, QWEN).tensor_sizes(8) == [1, 2, 4, 8]


def test_attention_may_be_what_is_cut() -> None:
    """Forty heads of 64 values on five GPUs: 512 values each, four groups; on eight, 320 values, two and a half."""
    heads = {"num_attention_heads": 40, "num_key_value_heads": 40, "hidden_size": 2560, "intermediate_size": 10240}
    model = with_(AWQ, QWEN, **heads)
    assert model.tensor_sizes(8) == [1, 2, 4, 5]
    assert model.why_not_tensor(8) == "o_proj inputs 2560 / 8 = 320 would cut a quantisation group of 128"


def test_heads_of_64_in_blocks_of_128() -> None:
    """FP8 blocks bind outputs too: one KV head of 64 values on a GPU is half a block. KV heads are copied, not cut."""
    block = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    sizes = {"hidden_size": 2048, "num_attention_heads": 32, "num_key_value_heads": 4, "intermediate_size": 8192}
    model = with_(block, QWEN, **sizes)
    assert model.tensor_sizes(16) == [1, 2]
    assert model.why_not_tensor(4) == "k_proj outputs 256 / 4 = 64 would cut a scale block of 128"
    assert with_(block, QWEN, **sizes, head_dim=128).tensor_sizes(16) == [1, 2, 4, 8, 16]


def test_groups_of_experts_are_halved_where_vllm_does_so() -> None:
    """GPTQ and AWQ: down to 32 (`MoeWNA16Method`); compressed-tensors never. Whole experts are not cut at all."""
    gptq = with_({**GPTQ, "bits": 4}, MIXTURE)
    assert gptq.tensor_sizes(16) == [1, 2, 4, 8]  # 768 / 8 = 96 = 3 x 32; attention: 512 values each
    assert "expert width 768 / 16 = 48 would cut a quantisation group of 32" in gptq.why_not_tensor(16)
    packed = with_(tensors(INT4, "pack-quantized"), MIXTURE)
    assert packed.tensor_sizes(16) == [1, 2]  # 768 / 4 = 192 = 1.5 x 128
    assert packed.why_not_tensor(4, experts_are_cut=False) == ""
    mxfp4 = with_({"quant_method": "mxfp4"}, MIXTURE)
    assert mxfp4.tensor_sizes(16) == [1, 2, 4, 8, 16]  # padded to whole groups


def test_a_width_that_no_group_divides_is_refused_on_one_gpu_too() -> None:
    """Not only as a share: 1000 is not a multiple of 128. Experts in blocks must be whole blocks even on one GPU."""
    assert with_(AWQ, QWEN, intermediate_size=1000).tensor_sizes(8) == []
    blocks = with_({"quant_method": "fp8", "weight_block_size": [128, 128]}, MIXTURE, moe_intermediate_size=704)
    assert blocks.why_not_tensor(1) == "expert width 704 would cut a scale block of 128"
    assert blocks.why_not_tensor(4, experts_are_cut=False) == "expert width 704 would cut a scale block of 128"
