"""FP8 as transformers and FBGEMM write it, and MXFP4 as gpt-oss has it."""

from dataclasses import dataclass
from typing import Final

from cluster.checkpoint.config_keys import ConfigKeys
from cluster.quantisation.module_names import Module, ModuleKind, is_named, is_start_or_end
from cluster.quantisation.weight_format import MXFP4, MXFP8, WeightFormat, fp8

_BLOCK_DIMENSIONS: Final = 2


@dataclass(frozen=True, slots=True)
class OneFormat:
    """A checkpoint whose quantised matrices all have one format; output head and embedding are never among them.

    Attributes:
        linear: format of linear layers; None: they are left unquantised.
        experts: format of routed experts.
        left_out: starts (as regular expressions) or ends of names of modules that are not quantised.
    """

    linear: WeightFormat | None
    experts: WeightFormat
    left_out: tuple[str, ...]

    def format_of(self, module: Module) -> WeightFormat | None:
        """Return the format of a matrix; None where it is left unquantised."""
        if module.kind == ModuleKind.HEAD or is_named(module, self.left_out, is_start_or_end):
            return None
        return self.experts if module.kind == ModuleKind.EXPERTS else self.linear


def read_fp8(keys: ConfigKeys) -> OneFormat:
    """Read the config of `quant_method: fp8` (DeepSeek's, Qwen's): a scale for each tensor, or for each block.

    Raises:
        ModelShapeError: a key is wrong, or vLLM refuses it.
    """
    block = weight_block(keys)
    if block and keys.text("activation_scheme") == "static":
        raise keys.refuse("activation_scheme is static: vLLM 0.32 serves FP8 in blocks with dynamic activations alone")
    stored = keys.text("store_dtype")
    if stored not in {"", "mxfp4"}:
        raise keys.refuse(f"store_dtype {stored!r} is not known here; known: mxfp4")
    weights = fp8(block=block)
    left_out = keys.names("ignored_layers") or keys.names("modules_to_not_convert")
    return OneFormat(weights, MXFP4 if stored else weights, left_out)


def read_fbgemm(keys: ConfigKeys) -> OneFormat:
    """Read the config of `quant_method: fbgemm_fp8` (Meta's Llama-3.1-405B): a scale for each output."""
    weights = fp8(channels=True)
    return OneFormat(weights, weights, keys.names("modules_to_not_convert"))


def read_mxfp4(keys: ConfigKeys) -> OneFormat:
    """Read the config of `quant_method: mxfp4`: experts alone (`Mxfp4Config` leaves all linear layers as they are)."""
    return OneFormat(None, MXFP4, keys.names("modules_to_not_convert", "ignored_layers"))


def read_mxfp8(keys: ConfigKeys) -> OneFormat:
    """Read the config of `quant_method: mxfp8` (MiniMax's): a scale for 32 values."""
    return OneFormat(MXFP8, MXFP8, keys.names("modules_to_not_convert", "ignored_layers", "ignore"))


def weight_block(keys: ConfigKeys) -> tuple[int, int] | None:
    """Return `weight_block_size`, (outputs, inputs); None if it is missing."""
    block = keys.items("weight_block_size")
    if block is None:
        return None
    whole = all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in block)
    if len(block) != _BLOCK_DIMENSIONS or not whole:
        raise keys.refuse(f"weight_block_size must be two whole numbers; got {block!r}")
    return int(block[0]), int(block[1])
