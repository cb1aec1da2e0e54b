"""A request body in outline: the prompt's pieces, and what stands beside the prompt.

Compiled code reads the prompt straight from the body's bytes (`prompt_scan.c`). All else of a body is small, so it may
be decoded as often as is convenient. Without the compiled code there are no outlines, and bodies are decoded whole.
"""

from typing import Final, final

from router.prompt.weight import MAX_MESSAGES, MAX_WEIGHT, too_heavy

try:
    from router.prompt.prompt_scan import scan
except ImportError:
    scan = None  # type: ignore[assignment]  # not compiled here: `make setup` says why

IS_COMPILED: Final = scan is not None
"""Whether there are outlines: the compiled code is there."""
_MEMBERS: Final = {
    "/v1/chat/completions": b"messages",
    "/v1/completions": b"prompt",
    "/v1/messages": b"messages",
    "/v1/responses": b"input",
}
"""The member that holds the prompt, or nearly all of it, by path."""
Pieces = bytes | list[bytes | tuple[int, int, int]]
"""Text in UTF-8, or a list of messages: for each its piece, or where it begins and ends in the body, and its weight."""


@final
class Outline:
    """One body in outline.

    Attributes:
        rest: the body with `null` in place of its prompt. Offsets in `pieces` are offsets in the body, not in it.
        pieces: the prompt.
        weight: that of all but the messages (see `weight.py`).
    """

    def __init__(self, rest: bytes, pieces: Pieces, weight: int) -> None:
        self.rest = rest
        self.pieces = pieces
        self.weight = weight


def outline_of(path: str, body: bytes) -> Outline | None:
    """Return a body in outline; None: it is to be decoded whole.

    Args:
        path: the request's path, without the query.
        body: the request's body, as it came.

    Raises:
        TooHeavyError: it has more messages or values than are read.
    """
    member = _MEMBERS.get(path)
    if member is None or scan is None:
        return None
    try:
        found = scan(body, member, MAX_MESSAGES, MAX_WEIGHT)
    except OverflowError as error:
        raise too_heavy(str(error)) from error
    if found is None:
        return None
    start, end, pieces, weight = found
    return Outline(body[:start] + b"null" + body[end:], pieces, weight)
