"""Turns the stream of the replica that continues an answer into the rest of the first one, as if it had not broken.

Its events get `id` and `created` of the first stream, and its usage becomes that of the whole answer: the prompt of the
first replica, and the tokens of both. What it repeats of the text is compared with what was sent, and left out.
"""

from typing import Any, Final, NamedTuple

import msgspec

from router.http.api.answers.resume import CHAT
from router.http.api.answers.sent_text import SentText
from router.http.api.answers.server_sent_events import DONE, EVENT_END, data_of, split_events
from router.http.api.answers.stream_event import gives_up, read_event
from router.http.api.answers.usage import reasoning_in
from router.http.wire.chunked import chunk, payload, whole_chunks
from router.request import RoutingRequest


class UsageAsked(NamedTuple):
    """The usage that a client asked for in its stream.

    Attributes:
        last: in an event of its own, the last one (`include_usage`).
        each: with every event (`continuous_usage_stats`).
    """

    last: bool = False
    each: bool = False


_NONE_ASKED: Final = UsageAsked()


def usage_asked(request: RoutingRequest) -> UsageAsked:
    """Return the usage that a request asks for; for most of them, which ask for none, nothing is made anew."""
    if not request.include_usage and not request.continuous_usage:
        return _NONE_ASKED
    return UsageAsked(request.include_usage, request.continuous_usage)


class ResumedStream:
    """Turns the new replica's stream into the rest of the first one.

    Args:
        sent: the text that the client has been sent. `feed` adds to it, so that the stream can be resumed once more.
        asked: the usage that the client asked for; any other is left out.

    Attributes:
        gave_up: the event in which the new engine gives up; None: it has not.
        strayed: the new engine says something else than text, or other text, so it does not continue the answer.
        differs: it strayed as it repeats the end of the text in other words.
    """

    def __init__(self, sent: SentText, asked: UsageAsked) -> None:
        self.gave_up: bytes | None = None
        self.strayed = False
        self.differs = False
        self._sent = sent
        self._asked = asked
        self._framed = b""
        self._event = b""
        self._tokens_before = sent.tokens
        self._reasoning_before = sent.reasoning_tokens
        self._prompt_tokens = sent.told.prompt_tokens

    def feed(self, framed: bytes) -> bytes:
        """Take framed bytes from the new replica; return framed bytes for the client: whole events, or b"".

        Where the engine gives up or strays in an event, the events before it are returned and the attribute is set.
        """
        self._framed += framed
        whole = whole_chunks(self._framed)
        events, self._event = split_events(self._event + payload(self._framed[:whole]))
        self._framed = self._framed[whole:]
        rewritten = []
        for event in events:
            if self.strayed:
                break
            if gives_up(event):
                self.gave_up = event + EVENT_END
                break
            out = self._rewritten(event)
            if out:
                rewritten.append(chunk(out + EVENT_END))
        return b"".join(rewritten)

    def _rewritten(self, event: bytes) -> bytes:
        """Return the event for the client; b"": it is to be left out."""
        data = data_of(event)
        if not data or data == DONE:
            return event if not data else b"data: " + DONE
        try:
            decoded = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.strayed = True
            return b""
        if not isinstance(decoded, dict) or decoded.get("error") is not None:
            return event
        return b"" if self._sent.first is not None and _opens_message(decoded) else self._as_the_rest(decoded)

    def _as_the_rest(self, event: dict[str, Any]) -> bytes:
        """Add an event to the text, and return it as the client sees it; b"": it is to be left out."""
        sent = self._sent
        if sent.first is not None:
            event |= _set({"id": sent.first.id, "created": sent.first.created})
        usage = event.get("usage")
        if isinstance(usage, dict):
            self._count_whole(usage)
        data = msgspec.json.encode(event)
        again = sent.to_repeat
        if again and not _repeats(data, again):
            sent.is_repeated_otherwise()
            self.strayed = self.differs = True
            return b""
        sent.add_event(b"data: " + data)
        self.strayed = not sent.resumable
        is_last = "usage" in event and not event.get("choices")
        if self.strayed or (is_last and not self._asked.last):
            return b""
        if again and not is_last and not _without(event, again):
            return b""
        if not is_last and not self._asked.each:
            event.pop("usage", None)
        return b"data: " + msgspec.json.encode(event)

    def _count_whole(self, usage: dict[str, Any]) -> None:
        """Make the usage of the second part that of the whole answer."""
        prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
        before = self._tokens_before
        if isinstance(prompt, int):
            told = self._prompt_tokens
            prompt = usage["prompt_tokens"] = told if told is not None else max(0, prompt - before)
            details = usage.get("prompt_tokens_details")
            if isinstance(details, dict) and isinstance(details.get("cached_tokens"), int):
                details["cached_tokens"] = min(details["cached_tokens"], prompt)
        if isinstance(completion, int):
            usage["completion_tokens"] = completion + before
        if self._reasoning_before:
            told_after = reasoning_in(usage) or 0
            usage["completion_tokens_details"] = {"reasoning_tokens": told_after + self._reasoning_before}
        if isinstance(prompt, int) and "total_tokens" in usage:
            usage["total_tokens"] = prompt + (usage.get("completion_tokens") or 0)


def _repeats(data: bytes, again: str) -> bool:
    """Tell whether an event's text is the beginning of what is to be repeated, or goes on after all of that."""
    read = read_event(data)
    for choice in (read.choices or ()) if read is not None else ():
        piece, is_end = choice.piece, choice.finish_reason is not None
        if not piece.startswith(again) and (is_end or not again.startswith(piece)):
            return False
    return True


def _without(event: dict[str, Any], again: str) -> bool:
    """Take what is repeated out of an event's text; return whether something is left to tell."""
    is_left = not event.get("choices")
    for choice in event.get("choices") or ():
        holder, name = (choice, "text") if choice.get("text") else (choice.get("delta") or {}, "content")
        if holder.get(name):
            holder[name] = holder[name][len(again) :]
            is_left = is_left or bool(holder[name])
        is_left = is_left or choice.get("finish_reason") is not None
    return is_left


def _opens_message(event: dict[str, Any]) -> bool:
    """Tell whether an event only opens the assistant's message, which the first stream has done already."""
    choices = event.get("choices")
    if not choices:
        return False
    delta = choices[0].get("delta") or {}
    return "role" in delta and not delta.get("content") and choices[0].get("finish_reason") is None


def _set(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def ending(path: str, sent: SentText, asked: UsageAsked, *, finish_reason: str | None) -> bytes:
    """Return the events that end a stream whose text is complete, as its replica did not send them.

    Args:
        path: the request's path.
        sent: what the client has been sent, folded.
        asked: the usage that the client asked for. It is left out where no replica told it.
        finish_reason: why the text ends; None: the client has been told.
    """
    events = []
    about: dict[str, Any] = {}
    if (first := sent.first) is not None:
        about = _set({"id": first.id, "object": first.object, "created": first.created, "model": first.model})
    if finish_reason is not None:
        piece: dict[str, Any] = {"delta": {}} if path == CHAT else {"text": ""}
        choice = {"index": 0, **piece, "logprobs": None, "finish_reason": finish_reason}
        events.append(msgspec.json.encode(about | {"choices": [choice]}))
    prompt, completion = sent.told.prompt_tokens, sent.told.completion_tokens
    if asked.last and not sent.usage_sent and prompt is not None and completion is not None:
        usage: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": completion}
        usage["total_tokens"] = prompt + completion
        if sent.reasoning_tokens is not None:
            usage["completion_tokens_details"] = {"reasoning_tokens": sent.reasoning_tokens}
        events.append(msgspec.json.encode(about | {"choices": [], "usage": usage}))
    events.append(DONE)
    return b"".join([b"data: " + event + EVENT_END for event in events])
