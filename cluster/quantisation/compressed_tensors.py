"""compressed-tensors (LLM Compressor's): groups of modules, each with a format of weights and of activations.

Follows `CompressedTensorsConfig._get_scheme_from_parts` of vLLM 0.32, which picks the kernel. What that function has no
kernel for is refused. A group without any `format` is an abridged config: 8-bit activations are then taken as given.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cluster.checkpoint.config_keys import ConfigKeys
from cluster.quantisation.float_weights import weight_block
from cluster.quantisation.module_names import Module, ModuleKind, is_named, is_whole_or_regex
from cluster.quantisation.weight_format import (
    INT8,
    INT8_OF_TENSOR,
    MXFP4,
    MXFP8,
    NVFP4,
    NVFP4_WEIGHTS,
    Activations,
    WeightFormat,
    fp8,
    integers,
)

_PACKED: Final = "pack-quantized"
_MX_GROUP: Final = 32
_NV_GROUP: Final = 16
_INTEGER_BITS: Final = range(2, 9)
_ACTIVATION_BITS: Final = (4, 8)
_W4A8_BITS: Final = 4


@dataclass(frozen=True, slots=True)
class CompressedTensors:
    """A compressed-tensors checkpoint.

    Attributes:
        targets: names or `re:` expressions of modules, or names of their classes, and the format of each.
        left_out: names or `re:` expressions of modules that are not quantised.
    """

    targets: tuple[tuple[str, WeightFormat], ...]
    left_out: tuple[str, ...]

    def format_of(self, module: Module) -> WeightFormat | None:
        """Return the format of a matrix; None where it is left unquantised. Its own name goes before its class."""
        if is_named(module, self.left_out, is_whole_or_regex):
            return None
        for target, weights in self.targets:
            if is_named(module, (target,), is_whole_or_regex):
                return weights
        for target, weights in self.targets:
            if module.kind != ModuleKind.HEAD and target in {"Linear", module.kind.value}:
                return weights
        return None


@dataclass(frozen=True, slots=True)
class _Values:
    """How weights or activations of a group are stored (compressed-tensors' `QuantizationArgs`)."""

    kind: str
    bits: int
    strategy: str
    group: int
    symmetric: bool
    dynamic: bool


def read_compressed_tensors(keys: ConfigKeys) -> CompressedTensors:
    """Read a compressed-tensors config with any number of groups.

    Raises:
        ModelShapeError: a key is missing or wrong, or vLLM has no kernel for a group.
    """
    targets: list[tuple[str, WeightFormat]] = []
    for name, group in keys.part("config_groups").items():
        if not isinstance(group, Mapping):
            raise keys.refuse(f"config_groups: {name} must be an object; got {group!r}")
        inside = ConfigKeys(group, f"{keys.source}: config_groups: {name}")
        named = inside.names("targets") or ("Linear",)
        if len(named) == 1 and named[0].endswith("Attention"):
            continue  # the KV cache's scales, not weights
        if inside.has("weights"):
            weights = _format(inside, inside.text("format") or keys.text("format"))
            targets += [(target, weights) for target in named]
    if not targets:
        raise keys.refuse("config_groups says of no weights how they are quantised")
    return CompressedTensors(tuple(targets), keys.names("ignore"))


def _format(group: ConfigKeys, layout: str) -> WeightFormat:
    keys = group.inside("weights")
    weights = _values(keys)
    inputs = _values(group.inside("input_activations")) if group.has("input_activations") else None
    found = _floats(keys, weights, inputs, layout) if weights.kind == "float" else _integers(weights, inputs, layout)
    if found is None or weights.dynamic:
        against = f"{inputs.kind} {inputs.bits}" if inputs else "16"
        raise group.refuse(
            f"weights of {weights.kind} {weights.bits} by {weights.strategy} with {against} bit activations"
            f"{f' as {layout}' if layout else ''}: vLLM 0.32 has no kernel for them"
        )
    return found


def _floats(keys: ConfigKeys, weights: _Values, inputs: _Values | None, layout: str) -> WeightFormat | None:
    if not weights.symmetric:
        return None
    match weights.bits, weights.strategy, weights.group:
        case 4, "tensor_group", group if group == _NV_GROUP:
            return NVFP4 if inputs else NVFP4_WEIGHTS
        case 4, "group", group if group == _MX_GROUP:
            return MXFP4
        case 8, "group", group if group == _MX_GROUP:
            return MXFP8
        case 8, "tensor" | "channel" | "block", _:
            activations = Activations.FP8 if inputs or not layout else Activations.BF16
            block = _block(keys) if weights.strategy == "block" else None
            return fp8(block=block, channels=weights.strategy == "channel", activations=activations)
        case _:
            return None


def _block(keys: ConfigKeys) -> tuple[int, int]:
    sizes = keys.items("block_structure")
    block = weight_block(ConfigKeys({"weight_block_size": sizes}, keys.source))
    if block is None:
        raise keys.refuse("block_structure is missing")
    return block


def _integers(weights: _Values, inputs: _Values | None, layout: str) -> WeightFormat | None:
    if weights.bits not in _INTEGER_BITS:
        return None
    if weights.bits == INT8.bits and (inputs.kind == "int" and inputs.bits == INT8.bits if inputs else not layout):
        whole = {"tensor": INT8_OF_TENSOR, "channel": INT8 if weights.symmetric else None}
        if weights.strategy in whole:
            return whole[weights.strategy]
    if weights.strategy not in {"group", "channel"}:
        return None
    if inputs is None:
        return integers(weights.bits, weights.group, zero_points=not weights.symmetric) if layout == _PACKED else None
    activations = _activations(weights, inputs)
    if activations is None or not weights.symmetric:
        return None
    return integers(weights.bits, weights.group, zero_points=False, activations=activations)


def _activations(weights: _Values, inputs: _Values) -> Activations | None:
    """Return what integer weights are multiplied with; None where vLLM has no kernel for it."""
    if inputs.kind == "int":
        return Activations.INT8 if inputs.bits in _ACTIVATION_BITS else None
    served = weights.bits == _W4A8_BITS and weights.strategy == "group" and inputs.bits == INT8.bits
    return Activations.FP8 if served else None


def _values(keys: ConfigKeys) -> _Values:
    group = keys.group_size("group_size") if keys.has("group_size") else 0
    by_default = "tensor" if group == 0 else "channel" if group == -1 else "group"
    strategy = keys.text("strategy") or by_default
    if strategy in {"group", "tensor_group"} and group < 1:
        raise keys.refuse(f"strategy is {strategy} without a group_size")
    bits = keys.count("num_bits")
    kind = keys.text("type") or "int"
    return _Values(
        kind,
        bits,
        strategy,
        -1 if strategy == "channel" else group,
        keys.flag("symmetric", default=True),
        keys.flag("dynamic"),
    )
