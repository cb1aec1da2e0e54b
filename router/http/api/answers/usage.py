"""Token counts of an answer, read once, when it has ended: what each API's `usage` means."""

import re
from contextlib import suppress
from enum import Enum, auto
from typing import Any, Final

import msgspec

from router.estimator.expectation import Usage
from router.http.api.answers.answer_fields import MOST, Holder, PlainAnswer, PlainUsage
from router.http.api.answers.server_sent_events import data_of, split_events
from router.http.wire.chunked import ChunkedError, inside, payload

UNKNOWN: Final = Usage()
"""Usage of an answer that does not say its tokens."""
KEY: Final = b'"usage"'
_FIRST_LINE: Final = re.compile(rb"\A\r\n[0-9A-Fa-f]+\r\n")
"""What stands before the data of a chunk that follows another. As a line of an event it would mean nothing either."""


class Framing(Enum):
    """What chunk framing the end of a stream has."""

    NONE = auto()
    """None: it is text."""
    WHOLE = auto()
    """It begins with a whole chunk."""
    CUT = auto()
    """It may have none, or be cut within a chunk or its first line."""


_holder: Final = msgspec.json.Decoder(Holder)

_plain: Final = msgspec.json.Decoder(PlainAnswer)


def plainly_counted(usage: PlainUsage) -> Usage:
    """Return the counts in a `usage` of the usual form, as `counted` does for any other."""
    details = usage.prompt_tokens_details
    cached = details.cached_tokens if details is not None else usage.cache_read_input_tokens
    prompt, completion, generated = usage.prompt_tokens, usage.completion_tokens, usage.completion_tokens_details
    reasoning = generated.reasoning_tokens if generated is not None else None
    if reasoning is not None:
        reasoning = min(reasoning, completion or 0)
    return Usage(prompt, cached if cached is None or cached < prompt else prompt, completion, reasoning)


def usage_of(answer: bytes) -> Usage:
    """Return the counts of a whole JSON answer of any API."""
    try:
        return plainly_counted(_plain.decode(answer).usage)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return counted_at_end(usage_in(answer))


def counted_at_end(fields: object) -> Usage:
    """Return the counts in the last `usage` object of an answer, those of its reasoning included."""
    usage = counted(fields)
    reasoning = reasoning_in(fields)
    if reasoning is None:
        return usage
    return Usage(
        usage.prompt_tokens,
        usage.cached_tokens,
        usage.completion_tokens,
        min(reasoning, usage.completion_tokens or 0),
    )


def reasoning_in(fields: object) -> int | None:
    """Return the tokens of reasoning in a decoded `usage` object; None: it does not say.

    Chats have them in `completion_tokens_details`, `/v1/responses` in `output_tokens_details`, `/v1/messages` nowhere.
    """
    if not isinstance(fields, dict):
        return None
    for name in ("completion_tokens_details", "output_tokens_details"):
        details = fields.get(name)
        if isinstance(details, dict):
            return _count(details.get("reasoning_tokens"))
    return None


def counted(fields: object) -> Usage:
    """Return the counts in a decoded `usage` object, but for those of reasoning: it is called for events, too.

    `prompt_tokens` (chats, completions, embeddings, scores) and `input_tokens` (`/v1/responses`) include what was
    cached, which `…_details.cached_tokens` tells. The `input_tokens` of `/v1/messages` do not: the prompt is the sum of
    them, `cache_read_input_tokens` and `cache_creation_input_tokens`. No more than the prompt can be cached.
    """
    if not isinstance(fields, dict):
        return UNKNOWN
    prompt = _count(fields.get("prompt_tokens"))
    completion = _first(fields, "completion_tokens", "output_tokens")
    read = _count(fields.get("cache_read_input_tokens"))
    if prompt is None:
        prompt = _count(fields.get("input_tokens"))
        if prompt is not None:
            prompt += (read or 0) + (_count(fields.get("cache_creation_input_tokens")) or 0)
    if prompt is None and (total := _count(fields.get("total_tokens"))) is not None:
        prompt = max(0, total - (completion or 0))
    cached = _cached(fields)
    if cached is None:
        cached = read
    if prompt is None or cached is None:
        return Usage(prompt, None, completion)
    return Usage(prompt, min(cached, prompt), completion)


def _cached(fields: dict[str, Any]) -> int | None:
    for name in ("prompt_tokens_details", "input_tokens_details"):
        details = fields.get(name)
        if isinstance(details, dict):
            return _count(details.get("cached_tokens"))
    return None


def _first(fields: dict[str, Any], *names: str) -> int | None:
    for name in names:
        count = _count(fields.get(name))
        if count is not None:
            return count
    return None


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST:
        return None
    return int(value)


def usage_in(answer: bytes) -> dict[str, Any] | None:
    """Return the `usage` object of a whole JSON answer or event, in the one place where it counts; None: it has none.

    A `usage` elsewhere, such as in the arguments of a tool's call, is content.
    """
    holder = _held(answer)
    if holder is None:
        return None
    found = _fields(holder.usage)
    for inner in (holder.response, holder.message, holder.x_groq):
        if found is None and inner and (within := _held(inner)) is not None:
            found = _fields(within.usage)
    if found is None and holder.meta and (within := _held(holder.meta)) is not None:
        units = _fields(within.billed_units)
        found = billed(units) if units is not None else None
    return found


def _held(answer: bytes | msgspec.Raw) -> Holder | None:
    try:
        return _holder.decode(answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _fields(raw: msgspec.Raw) -> dict[str, Any] | None:
    """Return a decoded object; None: the field is missing, or `null`, or something else, or no UTF-8."""
    try:
        found: object = msgspec.json.decode(raw) if raw else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def billed(units: dict[str, Any]) -> dict[str, Any]:
    """Return what an answer of Cohere's API bills, its `billed_units`, as a `usage` object."""
    prompt = [_count(units.get(name)) or 0 for name in ("input_tokens", "image_tokens")]
    return {"prompt_tokens": sum(prompt), "completion_tokens": units.get("output_tokens")}


def last_usage_of_stream(tail: bytes, framing: Framing = Framing.CUT) -> dict[str, Any] | None:
    """Return the last `usage` object in the whole events at the end of a stream; None: they have none.

    Args:
        tail: the end of the stream.
        framing: the chunk framing that it has. Only where that may be cut anywhere, text can be taken for framing.
    """
    at = tail.rfind(KEY)
    start, end = tail.rfind(b"\n\n", 0, max(0, at)), tail.find(b"\n\n", at)
    if start >= 0 and end >= 0 and KEY not in (tail[end:] if framing is Framing.NONE else inside(tail[end:])):
        event = tail[start + 2 : end]  # as nearly every server writes it: in a chunk of its own
        alone = inside(event) if framing is Framing.CUT else _FIRST_LINE.sub(b"", event, count=1)
        is_whole = alone.startswith((b"data:", b"event:")) and b"\r\n" not in alone
        if framing is Framing.CUT or (is_whole and not tail.startswith(b"\r", max(0, start - 1))):  # CR: of framing
            found = usage_in(data_of(alone))
            if found is not None:
                return found
    text = _unframed(tail, framing)
    if KEY not in text:  # seen at a fraction of what it costs to take the events apart
        return None
    events, rest = split_events(text)
    for event in (rest, *reversed(events)):
        if KEY in event:
            found = usage_in(data_of(event))
            if found is not None:
                return found
    return None


def _unframed(tail: bytes, framing: Framing) -> bytes:
    if framing is Framing.NONE:
        return tail
    if framing is Framing.WHOLE:
        with suppress(ChunkedError):
            return payload(tail)
    return inside(tail)
