"""Names of a model's modules, and the ways in which quantisers name those that they leave out or treat apart."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatch


class ModuleKind(StrEnum):
    """What vLLM makes of a module; the values are parts of its class names, which targets may name."""

    LINEAR = "Linear"
    EXPERTS = "RoutedExperts"
    HEAD = "ParallelLMHead"


@dataclass(frozen=True, slots=True)
class Module:
    """One matrix of a checkpoint.

    Attributes:
        names: its names; several where transformers and vLLM, or versions of them, have different prefixes.
        kind: what it is.
    """

    names: tuple[str, ...]
    kind: ModuleKind = ModuleKind.LINEAR


Match = Callable[[str, str], bool]
"""Tells whether a pattern of a config (the second argument) means the module of that name (the first)."""


def is_part(name: str, pattern: str) -> bool:
    """Tell whether the pattern is anywhere in the name (AWQ, and GPTQ's list of modules)."""
    return pattern in name


def is_whole_or_regex(name: str, pattern: str) -> bool:
    """Tell whether the pattern is the name, or after `re:` a regular expression that fits it (compressed-tensors)."""
    if pattern.startswith("re:"):
        return _fits(pattern.removeprefix("re:"), name)
    return pattern == name


def is_start_or_end(name: str, pattern: str) -> bool:
    """Tell whether the name starts with the pattern, a regular expression, or ends with it (transformers' quantisers).

    `should_convert_module` in transformers 5 decides so while it writes a checkpoint.
    """
    return name.endswith(pattern) or _fits(pattern, name)


def is_part_or_wildcard(name: str, pattern: str) -> bool:
    """Tell whether the pattern is anywhere in the name, or fits it as a file name's pattern does (ModelOpt)."""
    return pattern in name or fnmatch(name, pattern)


def is_named(module: Module, patterns: Iterable[str], match: Match) -> bool:
    """Tell whether one of the patterns means the module, under one of its names."""
    listed = tuple(patterns)
    return any(match(name, pattern) for name in module.names for pattern in listed)


def _fits(expression: str, name: str) -> bool:
    try:
        return re.match(expression, name) is not None
    except (re.error, RecursionError, OverflowError):
        return False
