"""Finds the reader of a `quantization_config`; methods that are not known are refused by name, with the reason."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from cluster.checkpoint.config_keys import ConfigKeys
from cluster.quantisation.compressed_tensors import read_compressed_tensors
from cluster.quantisation.float_weights import read_fbgemm, read_fp8, read_mxfp4, read_mxfp8
from cluster.quantisation.integer_groups import read_awq, read_gptq
from cluster.quantisation.modelopt import read_modelopt
from cluster.quantisation.scheme import WeightScheme

READERS: Final[Mapping[str, Callable[[ConfigKeys], WeightScheme]]] = {
    "fp8": read_fp8,
    "fbgemm_fp8": read_fbgemm,
    "mxfp4": read_mxfp4,
    "gpt_oss_mxfp4": read_mxfp4,
    "mxfp8": read_mxfp8,
    "awq": read_awq,
    "awq_marlin": read_awq,
    "auto_awq": read_awq,
    "gptq": read_gptq,
    "gptq_marlin": read_gptq,
    "auto_gptq": read_gptq,
    "compressed-tensors": read_compressed_tensors,
    "modelopt": read_modelopt,
    "modelopt_fp4": read_modelopt,
    "modelopt_mixed": read_modelopt,
    "modelopt_mxfp8": read_modelopt,
}
"""Reader by `quant_method`."""

_GONE: Final[Mapping[str, str]] = {
    "gguf": (
        "vLLM 0.32 does not load GGUF itself: that is left to a plugin (vllm-gguf-plugin), whose memory is not known "
        "here; plan a checkpoint in safetensors"
    ),
    "bitsandbytes": (
        "vLLM 0.32 no longer loads bitsandbytes checkpoints, so there is nothing to plan; quantise the original with "
        "GPTQ, AWQ or LLM Compressor"
    ),
}
_OTHERS_OF_VLLM: Final = ("quark", "torchao", "inc", "auto-round", "experts_int8", "moe_wna16", "humming", "fp_quant")


def read_quantisation(config: Mapping[str, Any], source: str) -> WeightScheme | None:
    """Return the format of each matrix of a checkpoint; None where nothing is quantised.

    Args:
        config: the `quantization_config`; empty where there is none.
        source: its place, for errors.

    Raises:
        ModelShapeError: the method is not known, a key is missing or wrong, or vLLM 0.32 would refuse the checkpoint.
    """
    if not config:
        return None
    keys = ConfigKeys(config, source)
    method = keys.text("quant_method").replace("_tensors", "-tensors")
    if method in READERS:
        return READERS[method](keys)
    if method in _GONE:
        raise keys.refuse(f"quant_method {method!r}: {_GONE[method]}")
    known = f"known: {', '.join(READERS)}"
    if method in _OTHERS_OF_VLLM:
        raise keys.refuse(f"quant_method {method!r} is vLLM's, but its sizes are not known here; {known}")
    raise keys.refuse(f"quant_method {method!r} is not known here; {known}")
