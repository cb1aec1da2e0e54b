"""The responses that can be fetched and continued: the latest, within a bound of memory."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from deployments.engines.sim.api.chat_template import Message
from deployments.engines.sim.generation.answer import Answer
from deployments.engines.sim.responses.background import BackgroundRun

MAX_RESPONSES: Final = 1024
"""Most responses that are kept."""
MAX_CHARS: Final = 1 << 24
"""Most characters of their chats; beyond it the oldest are forgotten."""


@dataclass(slots=True)
class StoredResponse:
    """One response.

    Attributes:
        response: its JSON.
        messages: the chat that it answers, without instructions.
        run: what makes it, if that goes on in the background.
        chars: characters of the chat.
    """

    response: dict[str, Any]
    messages: Sequence[Message]
    run: BackgroundRun | None = None
    chars: int = 0


class ResponseStore:
    """Keeps responses by their ids."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, StoredResponse] = OrderedDict()
        self._chars = 0

    def get(self, response_id: str) -> StoredResponse | None:
        """Return a response; None: there is none of this id, or it has been forgotten."""
        return self._kept.get(response_id)

    def keep(self, stored: StoredResponse) -> None:
        """Keep a response, and forget old ones beyond the bounds."""
        stored.chars = sum(_chars(message) for message in stored.messages)
        self._kept[stored.response["id"]] = stored
        self._chars += stored.chars
        while len(self._kept) > MAX_RESPONSES or (self._chars > MAX_CHARS and len(self._kept) > 1):
            _, oldest = self._kept.popitem(last=False)
            self._chars -= oldest.chars

    def check_integrity(self) -> None:
        """Check that the bounds hold.

        Raises:
            AssertionError: they do not.
        """
        if self._chars != sum(stored.chars for stored in self._kept.values()):
            raise AssertionError("the characters kept are miscounted")
        if len(self._kept) > MAX_RESPONSES:
            raise AssertionError(f"{len(self._kept)} responses are kept")


def said(answer: Answer) -> Message:
    """Return an answer as the chat's next message."""
    if not answer.calls:
        return Message("assistant", answer.text)
    calls = [
        {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in answer.calls
    ]
    return Message("assistant", None, msgspec.Raw(msgspec.json.encode(calls)))


def _chars(message: Message) -> int:
    parts = message.content if isinstance(message.content, list) else []
    text = message.content if isinstance(message.content, str) else "".join(part.text or "" for part in parts)
    return len(text) + len(bytes(message.tool_calls))
