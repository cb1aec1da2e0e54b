"""Continues a stream on another replica after its replica died, so that the client sees one unbroken answer.

The new replica is asked to continue the text already sent: with `continue_final_message` for chats, with a longer
prompt for completions. Its events get `id` and `created` of the first stream, and in its usage the tokens sent before
are counted as completion instead of prompt.
"""

from typing import Any

import msgspec

from router.http.api.sent_text import ABORT, DONE, ERROR, EVENT_END, SentText, gives_up
from router.http.wire.chunked import chunk, payload, whole_chunks

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
RESUMABLE_PATHS = frozenset({CHAT, COMPLETIONS})

_BLOCKING = ("tools", "functions", "response_format", "logprobs", "prompt_logprobs", "structured_outputs", "echo",
             "use_beam_search", "suffix")  # fmt: skip
"""Fields with which text alone cannot be continued: a grammar, for example, would start anew in the middle."""
_LIMITS = ("max_tokens", "max_completion_tokens")
"""Fields that limit the answer's tokens; they are reduced by the tokens already sent."""


def continuation_body(path: str, body: bytes, sent: SentText) -> bytes | None:
    """Return the body that asks another replica to continue where `sent` ends; None where that cannot be asked.

    Args:
        path: the request's path, one of `RESUMABLE_PATHS`.
        body: the client's own body, a JSON object.
        sent: the text that the client has been sent, folded.
    """
    asked: dict[str, Any] = msgspec.json.decode(body)
    if not sent.resumable or any(asked.get(field) for field in _BLOCKING) or asked.get("n") not in (None, 1):
        return None
    if not sent.text:
        return body
    for limit in _LIMITS:
        if isinstance(asked.get(limit), int):
            asked[limit] = max(1, asked[limit] - sent.tokens)
    if isinstance(asked.get("min_tokens"), int):
        asked["min_tokens"] = max(0, asked["min_tokens"] - sent.tokens)
    if path == CHAT:
        if not _continue_chat(asked, sent.text):
            return None
    elif isinstance(asked.get("prompt"), str):
        asked["prompt"] += sent.text
    else:
        return None
    return msgspec.json.encode(asked)


def _continue_chat(asked: dict[str, Any], text: str) -> bool:
    """Make the assistant's text so far the last message, to be continued; return False where that is impossible."""
    messages = asked.get("messages")
    if not isinstance(messages, list) or not messages:
        return False
    last = messages[-1]
    if asked.get("continue_final_message"):
        if not isinstance(last, dict) or not isinstance(last.get("content"), str):
            return False
        asked["messages"] = [*messages[:-1], {**last, "content": last["content"] + text}]
    else:
        asked["messages"] = [*messages, {"role": "assistant", "content": text}]
    asked["continue_final_message"] = True
    asked["add_generation_prompt"] = False
    return True


class ResumedStream:
    """Turns the new replica's stream into the rest of the first one.

    Args:
        sent: the text that the client has been sent. `feed` adds to it, so that the stream can be resumed once more.

    Attributes:
        gave_up: the event in which the new engine gives up; None: it has not.
    """

    def __init__(self, sent: SentText) -> None:
        self.gave_up: bytes | None = None
        self._sent = sent
        self._framed = b""
        self._events = b""
        self._before = sent.tokens

    def feed(self, framed: bytes) -> bytes:
        """Take framed bytes from the new replica; return framed bytes for the client: whole events, or b"".

        Where the engine gives up in an event, the events before it are returned and `gave_up` is set to it.
        """
        self._framed += framed
        whole = whole_chunks(self._framed)
        self._events += payload(self._framed[:whole])
        self._framed = self._framed[whole:]
        *events, self._events = self._events.split(EVENT_END)
        rewritten = []
        for event in events:
            if (ERROR in event or ABORT in event) and gives_up(event):
                self.gave_up = event + EVENT_END
                break
            out = self._rewritten(event)
            if out:
                rewritten.append(chunk(out + EVENT_END))
        return b"".join(rewritten)

    def _rewritten(self, event: bytes) -> bytes:
        data = event.removeprefix(b"data:").strip()
        if data == DONE or not event.startswith(b"data:"):
            return event
        decoded: dict[str, Any] = msgspec.json.decode(data)
        if self._sent.event_id:
            if _opens_message(decoded):
                return b""
            decoded["id"] = self._sent.event_id
            decoded["created"] = self._sent.created
        usage = decoded.get("usage")
        if isinstance(usage, dict):
            usage["prompt_tokens"] -= self._before
            usage["completion_tokens"] += self._before
        out = b"data: " + msgspec.json.encode(decoded)
        self._sent.add_event(out)
        return out


def _opens_message(event: dict[str, Any]) -> bool:
    """Tell whether an event only opens the assistant's message, which the first stream has done already."""
    choices = event.get("choices")
    if not choices:
        return False
    delta = choices[0].get("delta") or {}
    return "role" in delta and not delta.get("content") and choices[0].get("finish_reason") is None
