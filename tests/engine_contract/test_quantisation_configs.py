"""What the planner takes and refuses of a `quantization_config`, beside the installed vLLM's own classes."""

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from cluster.errors import ModelShapeError
from cluster.model_shapes.model_config import shape_from_config
from cluster.quantisation.registry import READERS, read_quantisation
from tests.unit.cluster.quantisation.test_formats_read import FP8_TOKENS, INT4, NV4, TOKENS, tensors
from tests.unit.cluster.quantisation.test_tensor_cuts import QWEN

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(300)]

GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
MODELOPT = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}
NVFP4 = {"quant_method": "modelopt_fp4", "quant_algo": "NVFP4", "ignore": ["lm_head"], "group_size": 16}
MIXED = {"quant_method": "modelopt_mixed", "quant_algo": "MIXED_PRECISION", "ignore": []}
WIDTH = 231 * 128
INT8 = {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True}


def is_taken(config: dict[str, Any]) -> bool:
    """Return whether the planner reads the config."""
    try:
        return read_quantisation(config, "m") is not None
    except ModelShapeError:
        return False


@pytest.fixture(scope="module")
def vllm() -> Any:  # noqa: ANN401 - a module of vLLM
    """Return vLLM's package of quantisation methods; its import takes half a minute and warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name = "vllm.model_executor.layers.quantization"
        package = pytest.importorskip(name, reason="vLLM comes with the cpu or gpu extra")
        package.get_quantization_config("fp8")  # imports the rest
    return package


def is_taken_by_vllm(vllm: Any, config: dict[str, Any]) -> bool:  # noqa: ANN401 - a module of vLLM
    """Return whether vLLM's class for the method reads it, and finds a scheme for each group."""
    try:
        read = vllm.get_quantization_config(config["quant_method"]).from_config(config)
    except ValueError:
        return False
    if config["quant_method"] != "compressed-tensors":
        return True
    return all(has_scheme(read, group) for group in read.target_scheme_map.values())


def has_scheme(config: Any, group: dict[str, Any]) -> bool:  # noqa: ANN401 - a class of vLLM
    """Return whether vLLM finds a scheme for a group of modules, whether or not this machine has a kernel for it."""
    try:
        config._get_scheme_from_parts(*(group[key] for key in PARTS), "name")
    except NotImplementedError as error:
        return "No compressed-tensors compatible scheme" not in str(error)
    except (AssertionError, ValueError):
        return True  # the scheme was found; its kernel is not for this machine, or wants an engine around it
    return True


PARTS = ("weights", "input_activations", "output_activations", "format")


@pytest.mark.parametrize(
    ("config", "taken"),
    [
        (GPTQ, True),
        ({**GPTQ, "bits": 8}, True),
        ({**GPTQ, "bits": 3}, False),
        ({**GPTQ, "bits": 2}, False),
        ({**GPTQ, "sym": False}, False),
        ({**GPTQ, "desc_act": True}, False),
        ({**GPTQ, "desc_act": True, "group_size": -1}, True),
        ({key: value for key, value in GPTQ.items() if key != "group_size"}, False),
        (AWQ, True),
        ({**AWQ, "bits": 8}, False),
        (FP8, True),
        ({**FP8, "activation_scheme": "static"}, False),
        ({**FP8, "weight_block_size": [128]}, False),
        (MODELOPT, True),
        (NVFP4, True),
        ({**MODELOPT, "quant_algo": "W4A8_AWQ"}, False),
        ({**MODELOPT, "quant_algo": None}, False),
        (MIXED, False),
        ({**MIXED, "quantized_layers": {"model.layers.0.mlp.gate_proj": {"quant_algo": "NVFP4"}}}, True),
        (tensors(INT4, "pack-quantized"), True),
        (tensors({**INT4, "num_bits": 3}, "pack-quantized"), True),
        (tensors(INT4, "pack-quantized", TOKENS), True),
        (tensors(INT8, "int-quantized", TOKENS), True),
        (tensors({"num_bits": 8, "type": "float", "strategy": "channel"}, "float-quantized", FP8_TOKENS), True),
        (tensors(NV4, "nvfp4-pack-quantized", NV4), True),
        (tensors(NV4, "nvfp4-pack-quantized"), True),
        (tensors(INT4, "marlin-24"), False),
        (tensors({**INT8, "symmetric": False}, "int-quantized", TOKENS), False),
    ],
)
def test_the_planner_takes_what_vllm_takes_and_refuses_what_it_refuses(
    vllm: Any,  # noqa: ANN401 - a module of vLLM
    config: dict[str, Any],
    taken: bool,  # noqa: FBT001 - from the table
) -> None:
    """So that a plan is of something that starts."""
    assert is_taken_by_vllm(vllm, dict(config)) is taken
    assert is_taken(config) is taken


def test_every_method_that_the_planner_reads_is_one_of_vllms(vllm: Any) -> None:  # noqa: ANN401 - a module of vLLM
    """And those refused as gone are not among them."""
    assert set(READERS) <= set(vllm.QUANTIZATION_METHODS)
    assert not {"gguf", "bitsandbytes"} & set(vllm.QUANTIZATION_METHODS)


@pytest.mark.parametrize(("size", "refused"), [(1, False), (2, True), (3, False), (4, True), (7, False), (8, True)])
def test_shares_of_231_groups_that_cut_one_are_refused_by_vllm_too(
    vllm: Any,  # noqa: ANN401 - a module of vLLM
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    refused: bool,  # noqa: FBT001 - from the table
) -> None:
    """AWQ, packed integers and FP8 blocks, each by the function of vLLM that refuses; there is no GPU to share with."""
    monkeypatch.setattr("vllm.distributed.get_tensor_model_parallel_world_size", lambda: size)
    share = WIDTH // size
    awq, blocks = import_module(f"{vllm.__name__}.auto_awq"), import_module(f"{vllm.__name__}.utils.fp8_utils")
    packed = import_module("vllm.distributed.utils")
    layer = import_module("torch").nn.Module()
    method = awq.AutoAWQLinearMethod(awq.AutoAWQConfig.from_config(AWQ))
    for refuse in (
        lambda: method.create_weights(layer, share, [64], WIDTH, 64, None),
        lambda: packed.verify_group_size_divides_partition(share, 128),
        lambda: blocks.validate_fp8_block_shape(layer, WIDTH, 8192, share, [8192], [128, 128]),
    ):
        assert is_refused(refuse) is refused
    shape = shape_from_config({**QWEN, "intermediate_size": WIDTH, "quantization_config": AWQ}, "m")
    assert any("MLP" in cut.why_not(size) for cut in shape.cuts) is refused


def is_refused(make: Callable[[], object]) -> bool:
    """Return whether vLLM refuses the shapes."""
    try:
        make()
    except ValueError:
        return True
    except (AssertionError, TypeError, KeyError):
        return False  # past the check, where it wants a tensor group and a loader
    return False
