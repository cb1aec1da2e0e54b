"""Reads `retry-after`: for how long a server asks to be left alone (RFC 9110, section 10.2.3)."""

import re
from email.utils import parsedate_to_datetime

_RETRY_AFTER = re.compile(rb"\r\nretry-after:[ \t]*([^\r\n]*?)[ \t]*(?:\r\n|$)", re.IGNORECASE)
_DATE = re.compile(rb"\r\ndate:[ \t]*([^\r\n]*?)[ \t]*(?:\r\n|$)", re.IGNORECASE)
_SECONDS = re.compile(rb"[0-9]{1,9}(?:\.[0-9]{1,9})?")
"""A whole number of seconds by the RFC. Some servers send a fraction."""


def retry_after_s(lines: bytes, wall_s: float) -> float | None:
    """Return the seconds that an answer's `retry-after` asks for, 0 or more; None: it has none that can be read.

    A date is compared with the answer's own `date`, if it has one: the clocks of server and gateway may differ.

    Args:
        lines: the answer's status line and headers.
        wall_s: the time, seconds since 1970.
    """
    found = _RETRY_AFTER.search(lines)
    if found is None:
        return None
    value = found[1]
    if _SECONDS.fullmatch(value):
        return float(value)
    until_s = _unix_s(value)
    if until_s is None:
        return None
    sent = _DATE.search(lines)
    sent_s = _unix_s(sent[1]) if sent is not None else None
    return max(0.0, until_s - (wall_s if sent_s is None else sent_s))


def _unix_s(date: bytes) -> float | None:
    """Return an HTTP date as seconds since 1970; None: it is none."""
    try:
        return parsedate_to_datetime(date.decode("latin-1")).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
