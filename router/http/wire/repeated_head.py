"""A head that comes again and again: a client's requests, and a server's answers, mostly differ in their length alone.

Such a head need not be parsed again. It is compared byte for byte with the one before, but for the digits of its
`content-length`.
"""

import re
from typing import Final, final

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,15})(?=\r\n)", re.IGNORECASE)
_LINE_END: Final = b"\r\n"
_MOST_DIGITS: Final = 15


@final
class RepeatedHead:
    """A head, cut in two at the digits of its one `content-length`.

    Attributes:
        before: what stands before them.
        after: what follows them, from the end of their line to the end of the head.
        fixed_bytes: the length of the two.
    """

    __slots__ = ("after", "before", "fixed_bytes")

    def __init__(self, before: bytes, after: bytes) -> None:
        self.before = before
        self.after = after
        self.fixed_bytes = len(before) + len(after)

    def digits_in(self, data: bytes) -> bytes | None:
        """Return the digits in bytes that begin with this head; None: they begin with another one."""
        before = self.before
        if not data.startswith(before):
            return None
        start = len(before)
        end = data.find(_LINE_END, start, start + _MOST_DIGITS + 2)
        digits = data[start:end]  # without a line end in reach, nothing that is a number and has `after` behind it
        return digits if digits.isdigit() and data.startswith(self.after, end) else None


def repeated_head(head: bytes) -> RepeatedHead | None:
    """Return a head so that it is known again; None: it has no `content-length`, or several.

    Args:
        head: one that was parsed without error, with the empty line at its end.
    """
    found = _LENGTH.search(head)
    if found is None or _LENGTH.search(head, found.end()) is not None:
        return None
    return RepeatedHead(head[: found.start(1)], head[found.end(1) :])
