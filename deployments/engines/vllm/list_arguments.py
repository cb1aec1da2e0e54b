"""Makes the list of vLLM's arguments, for checks without vLLM: `python -m deployments.engines.vllm.list_arguments`."""

import dataclasses
import sys
from argparse import Action, BooleanOptionalAction
from typing import Any, Final

import yaml

from deployments.engines.vllm.known_arguments import FILE, installed_version

_HEAD = "# vLLM's arguments, for known_arguments.py. Made by `python -m deployments.engines.vllm.list_arguments`.\n"
_KIND_OF_TYPE: Final = {
    "str": "text",
    "int": "int",
    "float": "float",
    "human_readable_int": "size",
    "human_readable_int_or_auto": "size_or_auto",
    "loads": "json",
    "parse_dataclass": "fields",
}
"""The kind of value by the name of the function with which vLLM 0.32 parses it; any other takes any text."""


def listed() -> str:
    """Return the list of the installed vLLM's arguments as YAML."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser  # noqa: PLC0415 - ten seconds
    from vllm.reasoning import ReasoningParserManager  # noqa: PLC0415
    from vllm.tool_parsers import ToolParserManager  # noqa: PLC0415
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: PLC0415

    actions = make_arg_parser(FlexibleArgumentParser())._actions  # noqa: SLF001 - argparse has no public list
    arguments = {action.dest: _entry(action) for action in actions if action.option_strings}
    for manager, argument in ((ToolParserManager, "tool_call_parser"), (ReasoningParserManager, "reasoning_parser")):
        arguments[argument]["choices"] = sorted(manager.list_registered())
    lines = [
        f"  {name}: {yaml.safe_dump(entry, default_flow_style=True, width=sys.maxsize, sort_keys=False).strip()}\n"
        for name, entry in sorted(arguments.items())
    ]
    return f"{_HEAD}vllm: {installed_version()}\narguments:\n{''.join(lines)}"


def _entry(action: Action) -> dict[str, Any]:
    if isinstance(action, BooleanOptionalAction) or action.nargs == 0:
        return {"kind": "switch"}
    entry: dict[str, Any] = {}
    parse: Any = action.type
    while inner := _wrapped(parse):
        if parse.__name__ == "_optional_type":
            entry["optional"] = True
        parse = inner
    name = getattr(parse, "__name__", "str")
    kind = "name" if name == "<lambda>" and action.choices else _KIND_OF_TYPE.get(name, "text")
    if kind != "text":
        entry["kind"] = kind
    if kind == "fields":
        entry["fields"] = sorted(field.name for field in dataclasses.fields(parse.__defaults__[0]) if field.init)
    if action.nargs in {"+", "*"}:
        entry["list"] = True
    choices = [str(choice) for choice in action.choices or ()]
    if choices:
        entry["choices"] = choices
    return entry


def _wrapped(parse: Any) -> Any:  # noqa: ANN401 - a function of vLLM's
    """Return the function inside one of vLLM's `optional_type` and `parse_type`; None if there is none."""
    names = getattr(getattr(parse, "__code__", None), "co_freevars", ())
    return parse.__closure__[names.index("return_type")].cell_contents if "return_type" in names else None


if __name__ == "__main__":
    FILE.write_text(listed(), encoding="utf-8")
