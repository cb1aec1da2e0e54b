"""Token counts of an answer, read once, when it has ended: what each API's `usage` means."""

import re
from typing import Any, Final

import msgspec

from router.estimator.expectation import Usage
from router.http.api.answers.answer_fields import MOST, Holder, PlainAnswer, PlainUsage
from router.http.api.answers.server_sent_events import data_of, split_events
from router.http.wire.chunked import inside

UNKNOWN: Final = Usage()
"""Usage of an answer that does not say its tokens."""
KEY: Final = b'"usage"'
_OBJECT: Final = re.compile(rb'"usage"\s*:\s*(?=\{)')
_BILLED_KEY: Final = b'"billed_units"'
_BILLED: Final = re.compile(rb'"billed_units"\s*:\s*(?=\{)')
_BRACE: Final = re.compile(rb"[{}]")
_EVENT_END: Final = re.compile(rb"\r\n\r\n|\n\n|\n\r\n|\r\r")
_LONGEST: Final = 4096
"""Bytes of a `usage` object at most."""


_holder: Final = msgspec.json.Decoder(Holder)

_plain: Final = msgspec.json.Decoder(PlainAnswer)


def plainly_counted(usage: PlainUsage) -> Usage:
    """Return the counts in a `usage` of the usual form, as `counted` does for any other."""
    details = usage.prompt_tokens_details
    cached = details.cached_tokens if details is not None else usage.cache_read_input_tokens
    prompt = usage.prompt_tokens
    return Usage(prompt, cached if cached is None or cached < prompt else prompt, usage.completion_tokens)


def usage_of(answer: bytes) -> Usage:
    """Return the counts of a whole JSON answer of any API."""
    try:
        return plainly_counted(_plain.decode(answer).usage)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return counted(usage_in(answer))


def counted(fields: object) -> Usage:
    """Return the counts in a decoded `usage` object.

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
    if holder is not None and not holder.usage:
        if holder.meta:
            return billed_in(bytes(holder.meta), depth=1)
        holder = _held(holder.response or holder.message)
    if holder is None or not holder.usage:
        return None
    found: object = msgspec.json.decode(holder.usage)
    return found if isinstance(found, dict) else None


def _held(answer: bytes | msgspec.Raw) -> Holder | None:
    try:
        return _holder.decode(answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def last_usage(tail: bytes, *, chunked: bool = True) -> dict[str, Any] | None:
    """Return the last `usage` object in the end of a JSON answer; None: there is none.

    What follows the object must close the answer: a `usage` in its content, deeper down, is not taken.

    Args:
        tail: the end of the answer.
        chunked: it has chunk framing, which may cut anything in two.
    """
    if not chunked:
        return _last_in(tail, 1)
    found = _last_told(tail, 1)
    return found if found is not None else _last_in(inside(tail), 1)


def last_usage_of_stream(tail: bytes, *, depth: int) -> dict[str, Any] | None:
    """Return the last `usage` object in the end of a stream of events; None: there is none.

    Args:
        tail: the end of the stream, with or without chunk framing.
        depth: how deep it may stand in its event: 1 in the event's own object, 2 in its `response`.
    """
    found = _last_told(tail, depth)  # as nearly every server writes it: without reading events
    if found is not None:
        return found
    text = inside(tail)
    events, rest = split_events(text)
    for event in (rest, *reversed(events)):
        if KEY in event:
            found = usage_in(data_of(event))
            if found is not None:
                return found
    return _last_in(text, depth)


def _last_told(tail: bytes, depth: int) -> dict[str, Any] | None:
    """Return the last `usage` whose key is in one piece; None: it is not one that counts, or is cut in two."""
    at = tail.rfind(KEY)
    return _last_in(inside(tail[at:]), depth) if at >= 0 else None


def _last_in(text: bytes, depth: int) -> dict[str, Any] | None:
    at = len(text)
    while (at := text.rfind(KEY, 0, at)) >= 0:
        found = _object_at(text[at:], depth)
        if found is not None:
            return found
    return None


def billed_in(tail: bytes, *, depth: int = 2) -> dict[str, Any] | None:
    """Return what an answer of Cohere's API bills, as a `usage` object; None: it does not say.

    Args:
        tail: the end of the answer, with or without chunk framing.
        depth: how deep it may stand: 2 in an answer, 1 in its `meta`.
    """
    at = tail.rfind(_BILLED_KEY)
    found = _object_at(inside(tail[at:]), depth, _BILLED) if at >= 0 else None
    if found is None:
        return None
    prompt = [_count(found.get(name)) or 0 for name in ("input_tokens", "image_tokens")]
    return {"prompt_tokens": sum(prompt), "completion_tokens": found.get("output_tokens")}


def _object_at(text: bytes, depth: int, pattern: re.Pattern[bytes] = _OBJECT) -> dict[str, Any] | None:
    key = pattern.match(text)
    if key is None:
        return None
    end = _end_of_object(text, key.end())
    rest = _EVENT_END.split(text[end:], maxsplit=1)[0]
    for outer in range(depth):
        try:
            msgspec.json.decode(b'{"":' * outer + b'{"":0' + rest)
            fields: dict[str, Any] = msgspec.json.decode(text[key.end() : end])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        return fields
    return None


def first_usage(head: bytes) -> dict[str, Any] | None:
    """Return the `usage` object in the start of a JSON answer that is too long to be kept whole; None: there is none.

    What precedes the object must be the fields before it: a `usage` in the answer's content is not taken.
    """
    at = -1
    while (at := head.find(KEY, at + 1)) >= 0:
        key = _OBJECT.match(head, at)
        if key is None:
            continue
        end = _end_of_object(head, key.end())
        found = usage_in(head[:end] + b"}")
        if found is not None:
            return found
    return None


def _end_of_object(text: bytes, start: int) -> int:
    """Return the offset at which the JSON object at `start` ends; it must hold no braces in strings."""
    level = 0
    for brace in _BRACE.finditer(text, start, start + _LONGEST):
        level += 1 if brace.group() == b"{" else -1
        if level == 0:
            return brace.end()
    return len(text)
