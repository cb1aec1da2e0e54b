"""The answer that a body asks for: whether it is a stream, how long it may be, and where it tells its tokens.

All as engines that check bodies with pydantic understand the fields.
"""

import re
from typing import Final

from router.http.api.envelope import Envelope

_QUOTED: Final = re.compile(r"\s*\+?([0-9]{1,9})(?:\.0+)?\s*")
"""A whole number in quotes, as engines read it. Longer ones are not read."""
_TRUE: Final = frozenset({"1", "on", "t", "true", "y", "yes"})
"""Words that engines take for true, in any case: pydantic's conversion table, in its lax mode."""


def is_streamed(envelope: Envelope) -> bool:
    """Return whether the answer is to be a stream."""
    sent = envelope.stream
    if sent is None or sent is False:
        return False
    return sent is True or sent == 1 or (isinstance(sent, str) and sent.lower() in _TRUE)


def most_tokens(envelope: Envelope) -> int | None:
    """Return the most tokens that a request wants, from the first of three fields that says; None: none does."""
    limits: tuple[object, ...] = envelope.max_completion_tokens, envelope.max_tokens, envelope.max_output_tokens
    for limit in limits:
        number = None if limit is None else number_in(limit)
        if number is not None and number >= 0:
            return number
    return None


def includes_usage(envelope: Envelope) -> bool:
    """Return whether the stream's last event is to hold the usage."""
    return _stream_option(envelope, "include_usage")


def tells_usage(envelope: Envelope) -> bool:
    """Return whether every event of the stream is to hold the usage; vLLM does so where the last one holds it too."""
    return _stream_option(envelope, "continuous_usage_stats") and _stream_option(envelope, "include_usage")


def _stream_option(envelope: Envelope, name: str) -> bool:
    options = envelope.stream_options
    return isinstance(options, dict) and bool(options.get(name))


def number_in(value: object) -> int | None:
    """Return the whole number that an engine reads: from 5, 5.0 or "5"; None: none."""
    if isinstance(value, str):
        quoted = _QUOTED.fullmatch(value)
        return int(quoted[1]) if quoted is not None else None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) else None
