"""An answer that is known before it is generated: guided text or tool calls, cut into tokens."""

import json
import re
from dataclasses import dataclass
from typing import Final

# Like a tokenizer's pieces: a few letters with the space before them, spaces, or a few other characters.
_TOKEN: Final = re.compile(r"\s?\w{1,5}|\s+|[^\w\s]{1,2}")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of one of the request's tools.

    Attributes:
        call_id: the call's id, which the message with its result names.
        name: the tool's name.
        arguments: the arguments, a JSON object as text.
    """

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class CallDelta:
    """New text of one tool call.

    Attributes:
        index: the call's place in the answer.
        opens: the call begins here.
        arguments: new text of its arguments.
    """

    index: int
    opens: bool
    arguments: str


@dataclass(frozen=True, slots=True)
class Script:
    """What an answer says.

    Attributes:
        text: the generated text; that of tool calls is in the Hermes form, which vLLM's parser `hermes` reads.
        calls: the tool calls in it.
        spans: where in `text` each call's arguments begin and end.
    """

    text: str
    calls: tuple[ToolCall, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of_calls(cls, calls: tuple[ToolCall, ...]) -> "Script":
        """Return the script of an answer that consists of tool calls."""
        text, spans = "", []
        for call in calls:
            text += f'<tool_call>\n{{"name": {json.dumps(call.name)}, "arguments": '
            spans.append((len(text), len(text) + len(call.arguments)))
            text += call.arguments + "}\n</tool_call>\n"
        return cls(text.removesuffix("\n"), calls, tuple(spans))

    def tokens_after(self, begun: str) -> list[str]:
        """Return the texts of the tokens that follow `begun`; all of them if the script does not begin like that."""
        return _TOKEN.findall(self.text.removeprefix(begun))

    def call_deltas(self, shown: int, end: int) -> list[CallDelta]:
        """Return what the text from `shown` to `end` adds to the tool calls."""
        deltas = []
        for index, (first, last) in enumerate(self.spans):
            opens = shown < first <= end
            new = self.text[max(shown, first) : min(end, last)] if shown < last and end > first else ""
            if opens or new:
                deltas.append(CallDelta(index, opens, new))
        return deltas
