"""GPTQ and AWQ: packed integers of weights alone, with a scale and a zero point for each group of inputs.

What is refused here vLLM 0.32 refuses too (`AutoGPTQConfig`, `AutoAWQConfig`), or it would make the size a guess.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cluster.checkpoint.config_keys import ConfigKeys
from cluster.quantisation.module_names import Module, ModuleKind, is_named, is_part
from cluster.quantisation.weight_format import GROUP_SIZES, WeightFormat, integers

_GPTQ_BITS: Final = (4, 8)
_AWQ_BITS: Final = (4,)


@dataclass(frozen=True, slots=True)
class Awq:
    """An AWQ checkpoint.

    Attributes:
        weights: format of what is quantised.
        left_out: parts of names of modules that are not.
        head: whether the output head is quantised.
    """

    weights: WeightFormat
    left_out: tuple[str, ...]
    head: bool

    def format_of(self, module: Module) -> WeightFormat | None:
        """Return the format of a matrix; None where it is left unquantised."""
        if (module.kind == ModuleKind.HEAD and not self.head) or is_named(module, self.left_out, is_part):
            return None
        return self.weights


@dataclass(frozen=True, slots=True)
class Gptq:
    """A GPTQ checkpoint.

    Attributes:
        weights: format of what is quantised and has no rule of its own.
        rules: GPTQModel's `dynamic`: a regular expression of module names, and the format of those modules (None: they
            are left out). The first that fits counts.
        listed: parts of names of the only modules that are quantised; empty: all are.
        head: whether the output head is quantised.
    """

    weights: WeightFormat
    rules: tuple[tuple[re.Pattern[str], WeightFormat | None], ...]
    listed: tuple[str, ...]
    head: bool

    def format_of(self, module: Module) -> WeightFormat | None:
        """Return the format of a matrix; None where it is left unquantised."""
        if module.kind == ModuleKind.HEAD and not self.head:
            return None
        if self.listed and module.kind == ModuleKind.LINEAR and not is_named(module, self.listed, is_part):
            return None
        for pattern, weights in self.rules:
            if any(pattern.match(name) for name in module.names):
                return weights
        return self.weights


def read_awq(keys: ConfigKeys) -> Awq:
    """Read an AWQ config.

    Raises:
        ModelShapeError: a key is missing or wrong, or vLLM has no kernel for it.
    """
    bits, group = keys.count("w_bit", "bits"), keys.group_size("q_group_size", "group_size")
    _check(keys, "AWQ", bits, group, _AWQ_BITS)
    weights = integers(bits, group, zero_points=keys.flag("zero_point", default=True), experts_may_halve=True)
    return Awq(weights, keys.names("modules_to_not_convert"), keys.flag("lm_head"))


def read_gptq(keys: ConfigKeys) -> Gptq:
    """Read a GPTQ config.

    Raises:
        ModelShapeError: a key is missing or wrong, or vLLM has no kernel for it.
    """
    weights = _gptq_format(keys, keys.count("bits"), keys.group_size("group_size"), {})
    rules = []
    for pattern, changes in keys.part("dynamic").items():
        rules.append(
            (
                _expression(keys, pattern.removeprefix("-:").removeprefix("+:")),
                None if pattern.startswith("-:") else _changed(keys, weights, changes),
            )
        )
    return Gptq(weights, tuple(rules), _listed(keys), keys.flag("lm_head"))


def _changed(keys: ConfigKeys, base: WeightFormat, changes: object) -> WeightFormat:
    if not isinstance(changes, Mapping):
        raise keys.refuse(f"dynamic must hold objects; got {changes!r}")
    inside = ConfigKeys(changes, f"{keys.source}: dynamic")
    group = inside.group_size("group_size") if inside.has("group_size") else base.group_inputs or -1
    return _gptq_format(keys, inside.count("bits", default=base.bits), group, changes)


def _gptq_format(keys: ConfigKeys, bits: int, group: int, changes: Mapping[str, Any]) -> WeightFormat:
    _check(keys, "GPTQ", bits, group, _GPTQ_BITS)
    inside = ConfigKeys(changes, keys.source)
    if not inside.flag("sym", default=keys.flag("sym", default=True)):
        raise keys.refuse("sym is false: vLLM 0.32 serves symmetric GPTQ alone")
    if group != -1 and inside.flag("desc_act", default=keys.flag("desc_act")):
        raise keys.refuse(
            "desc_act is true: vLLM 0.32 no longer serves GPTQ whose groups are ordered by activation; take a "
            "checkpoint with static ordering, or with desc_act false"
        )
    return integers(bits, group, zero_points=True, experts_may_halve=True)


def _check(keys: ConfigKeys, method: str, bits: int, group: int, served: tuple[int, ...]) -> None:
    if bits not in served:
        known = " and ".join(str(each) for each in served)
        raise keys.refuse(f"{method} with {bits} bits is not served by vLLM 0.32, which has kernels for {known}")
    if group not in GROUP_SIZES:
        known = ", ".join(str(size) for size in GROUP_SIZES)
        raise keys.refuse(f"{method} with groups of {group} is not served by vLLM 0.32, whose kernels take {known}")


def _listed(keys: ConfigKeys) -> tuple[str, ...]:
    """Return the modules of `modules_in_block_to_quantize`, a list of names or of lists of names."""
    found: list[str] = []
    for entry in keys.items("modules_in_block_to_quantize") or ():
        found += [str(name) for name in entry] if isinstance(entry, list) else [str(entry)]
    return tuple(found)


def _expression(keys: ConfigKeys, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise keys.refuse(f"dynamic has {pattern!r}, which is no regular expression: {error}") from error
