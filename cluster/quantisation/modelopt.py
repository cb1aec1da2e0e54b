"""NVIDIA's ModelOpt: one algorithm for all layers, or `MIXED_PRECISION` with the algorithm of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cluster.checkpoint.config_keys import ConfigKeys
from cluster.quantisation.module_names import Module, ModuleKind, is_named, is_part_or_wildcard
from cluster.quantisation.weight_format import MXFP8, NVFP4, NVFP4_WEIGHTS, WeightFormat, fp8

ALGORITHMS: Final[Mapping[str, WeightFormat]] = {
    "FP8": fp8(),
    "FP8_PER_CHANNEL_PER_TOKEN": fp8(channels=True),
    "FP8_PB_WO": fp8(block=(128, 128)),
    "NVFP4": NVFP4,
    "W4A16_NVFP4": NVFP4_WEIGHTS,
    "MXFP8": MXFP8,
}
"""Format by `quant_algo`: those that vLLM 0.32 loads (`LINEAR_ALGOS`)."""

_MIXED: Final = "MIXED_PRECISION"
_SHARDS: Final = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}


@dataclass(frozen=True, slots=True)
class ModelOpt:
    """A ModelOpt checkpoint.

    Attributes:
        weights: format of all matrices that are not left out; None: `by_module` tells each one's.
        by_module: format by the name of a module, or of one that holds it.
        left_out: parts or wildcards of names of modules that are not quantised.
    """

    weights: WeightFormat | None
    by_module: Mapping[str, WeightFormat]
    left_out: tuple[str, ...]

    def format_of(self, module: Module) -> WeightFormat | None:
        """Return the format of a matrix; None where it is left unquantised."""
        if is_named(module, self.left_out, is_part_or_wildcard):
            return None
        return self.weights or next((found for name in module.names if (found := self._of_name(name, module))), None)

    def _of_name(self, name: str, module: Module) -> WeightFormat | None:
        if name in self.by_module:
            return self.by_module[name]
        parent, _, last = name.rpartition(".")
        for shard in _SHARDS.get(last, ()):
            if f"{parent}.{shard}" in self.by_module:
                return self.by_module[f"{parent}.{shard}"]
        if module.kind == ModuleKind.EXPERTS:
            experts = name.partition(".experts.")[0]
            inside = (f"{experts}.experts", f"{experts}.experts.")
            return next((weights for each, weights in self.by_module.items() if each.startswith(inside)), None)
        return None


def read_modelopt(keys: ConfigKeys) -> ModelOpt:
    """Read a ModelOpt config, from a `config.json` or in the older form of `hf_quant_config.json`.

    Raises:
        ModelShapeError: a key is missing or wrong, or vLLM does not load the algorithm.
    """
    inside = keys.inside("quantization") if keys.has("quantization") else keys
    algorithm = inside.text("quant_algo").upper()
    if not algorithm:
        raise inside.refuse("quant_algo is missing")
    left_out = inside.names("exclude_modules", "ignore")
    if algorithm != _MIXED:
        return ModelOpt(_format(inside, algorithm), {}, left_out)
    layers = inside.part("quantized_layers")
    if not layers:
        raise inside.refuse(
            f"quant_algo is {_MIXED} without quantized_layers, which name each layer's algorithm; vLLM 0.32 refuses it"
        )
    formats: dict[str, WeightFormat] = {}
    for name, entry in layers.items():
        if not isinstance(entry, Mapping):
            raise inside.refuse(f"quantized_layers: {name} must be an object; got {entry!r}")
        layer = ConfigKeys(entry, f"{inside.source}: quantized_layers: {name}")
        formats[name] = _format(layer, layer.text("quant_algo").upper())
    return ModelOpt(None, formats, left_out)


def _format(keys: ConfigKeys, algorithm: str) -> WeightFormat:
    weights = ALGORITHMS.get(algorithm)
    if weights is None:
        known = ", ".join([*ALGORITHMS, _MIXED])
        raise keys.refuse(f"ModelOpt's quant_algo {algorithm!r} is not served by vLLM 0.32; served: {known}")
    group = keys.count("group_size", default=weights.group_inputs or 1)
    if weights.group_inputs and group != weights.group_inputs:
        raise keys.refuse(f"{algorithm} has groups of {weights.group_inputs}; got group_size {group}")
    return weights
