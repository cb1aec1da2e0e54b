"""A short answer that is no stream: passed on when it is whole, so that another replica may answer until then."""

from collections.abc import Callable
from typing import Final

from router.http.wire.response_head import ResponseHead
from router.http.wire.upstream.receiver import Sink

HELD_BYTES: Final = 64 * 1024
"""Size up to which an answer with a length is held; a longer one is passed on as it comes."""


def is_incomplete(head: ResponseHead, body: bytes) -> bool:
    """Tell whether an answer is to be held, as not all of it came with its head."""
    return len(body) < head.length <= HELD_BYTES and not head.is_error


def until_whole(head: ResponseHead, body: bytes, begin: Callable[[bytes], object]) -> Sink:
    """Return a sink that collects the body and calls `begin` with all of it when its last byte is here.

    Args:
        head: the answer's head.
        body: the bytes of the body that came with it, fewer than the head tells.
        begin: sends the answer to the client.
    """
    pieces, missing = [body], head.length - len(body)

    def hold(data: bytes) -> None:
        nonlocal missing
        pieces.append(data)
        missing -= len(data)
        if missing <= 0:
            begin(b"".join(pieces))

    return hold
