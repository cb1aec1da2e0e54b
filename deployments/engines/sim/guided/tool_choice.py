"""Which tools an answer calls, and with what arguments."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from deployments.engines.sim.generation.script import Script, ToolCall
from deployments.engines.sim.guided.errors import UnfitError
from deployments.engines.sim.guided.schema_value import value_of


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that an answer may call.

    Attributes:
        name: its name.
        parameters: JSON schema of its arguments; None: it takes any object.
    """

    name: str
    parameters: Any = None


@dataclass(frozen=True, slots=True)
class ToolUse:
    """The tools of a request and how it lets them be called.

    Attributes:
        tools: the tools.
        choice: `auto`: called unless the last message is a tool's result; `required`: called in any case; `none`:
            never called.
        named: the one tool that is to be called; "": the answer chooses.
        several: an answer may call several tools.
    """

    tools: Sequence[Tool]
    choice: Literal["auto", "required", "none"] = "auto"
    named: str = ""
    several: bool = True

    def called(self, asked: str, used: Collection[str], seed: int, *, after_result: bool) -> list[Tool]:
        """Return the tools that an answer calls.

        They are those that the user's message names, so that whoever writes it decides; if it names none, one drawn by
        `seed`. Tools that were called since that message come last, so that an agent which must always call one gets to
        the one that ends its work.

        Args:
            asked: the last message of the user.
            used: names of the tools called since then.
            seed: equal seeds draw the same tool.
            after_result: the last message is the result of a tool.
        """
        if self.named:
            return [tool for tool in self.tools if tool.name == self.named]
        if not self.tools or self.choice == "none" or (self.choice == "auto" and after_result):
            return []
        unused = [tool for tool in self.tools if tool.name not in used] or self.tools
        chosen = [tool for tool in unused if tool.name in asked] or [unused[seed % len(unused)]]
        return chosen if self.several else chosen[:1]


def script_of_calls(tools: Sequence[Tool], seed: int, call_id: str) -> Script:
    """Return the script of an answer that calls tools with arguments that fit their schemas.

    Args:
        tools: the tools, in the calls' order.
        seed: equal seeds give equal arguments.
        call_id: beginning of the calls' ids, unique for each answer.

    Raises:
        UnfitError: the schema of a tool is wrong, or nothing fits it; the message names the tool.
    """
    calls = []
    for place, tool in enumerate(tools):
        schema = {"type": "object"} if tool.parameters is None else tool.parameters
        try:
            arguments = value_of(schema, seed + place)
        except UnfitError as exc:
            raise UnfitError(f"parameters of the tool {tool.name!r}: {exc}") from exc
        calls.append(ToolCall(f"{call_id}{place}", tool.name, json.dumps(arguments, ensure_ascii=False)))
    return Script.of_calls(tuple(calls))
