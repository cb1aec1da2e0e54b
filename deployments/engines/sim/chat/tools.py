"""The tools of a chat request, and `tool_choice`."""

from typing import Any, Literal

import msgspec

from deployments.engines.sim.api.decoding import convert, decode
from deployments.engines.sim.api.errors import bad_value
from deployments.engines.sim.guided.tool_choice import Tool, ToolUse


class Function(msgspec.Struct):
    """What `tools[].function` says."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(msgspec.Struct):
    """One entry of `tools`."""

    function: Function
    type: Literal["function"] = "function"


class FunctionName(msgspec.Struct):
    """What `tool_choice.function` says."""

    name: str


class NamedChoice(msgspec.Struct):
    """A `tool_choice` that names a tool."""

    function: FunctionName
    type: Literal["function"] = "function"


def tool_use_of(tools: msgspec.Raw, tool_choice: Any, *, several: bool) -> ToolUse:  # noqa: ANN401 - any JSON
    """Return which tools a chat has, and how it lets them be called.

    Args:
        tools: the field `tools` as it came; empty: there is none.
        tool_choice: the field `tool_choice`.
        several: the field `parallel_tool_calls`.

    Raises:
        RequestError: a field is wrong, or the choice is of a tool that is not there.
    """
    listed = decode(tools, list[FunctionTool] | None, "tools") if bytes(tools) else None  # type: ignore[arg-type]
    if listed == []:
        message = "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely."
        raise bad_value(message, "tools")
    if not listed:
        if tool_choice not in (None, "none"):
            raise bad_value("When using `tool_choice`, `tools` must be set.", "tool_choice")
        return ToolUse(())
    found = [Tool(one.function.name, one.function.parameters) for one in listed]
    match tool_choice:
        case None | "auto":
            return ToolUse(found, "auto", several=several)
        case "required":
            return ToolUse(found, "required", several=several)
        case "none":
            return ToolUse(found, "none")
        case {}:
            name = convert(tool_choice, NamedChoice, "tool_choice").function.name
            if name not in [tool.name for tool in found]:
                message = "The tool specified in `tool_choice` does not match any of the specified `tools`"
                raise bad_value(message, "tool_choice")
            return ToolUse(found, "required", named=name)
        case _:
            raise bad_value(
                f'Invalid value for `tool_choice`: {tool_choice}! Only named tools, "none", "auto" or "required" are '
                "supported.",
                "tool_choice",
            )
