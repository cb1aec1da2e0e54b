"""The interface of what takes a replica's answer."""

from collections.abc import Callable
from typing import Protocol

from router.http.wire.response_head import ResponseHead

Sink = Callable[[bytes], object]
"""Receives the framed bytes of a body, once for each read."""


class Receiver(Protocol):
    """Receives a replica's answer to one request.

    Attributes:
        head_request: the method is HEAD, so no body follows the head.
        upgrades: the replica is asked to change the protocol.
    """

    head_request: bool
    upgrades: bool

    def upstream_head(self, head: ResponseHead, body: bytes) -> Sink:
        """Take the answer's head.

        Args:
            head: the head.
            body: the first bytes of the body, framed, which came with the head; may be b"".

        Returns:
            The sink for the rest of the body.
        """
        ...

    def upstream_done(self) -> None:
        """Note that the answer is complete."""
        ...

    def upstream_is_slow(self) -> None:
        """Note that the replica does not keep up with what is sent to it."""
        ...

    def upstream_caught_up(self) -> None:
        """Note that the replica has taken in most of what was sent to it."""
        ...

    def upstream_failed(self, reason: str, *, between_chunks: bool) -> None:
        """Note that the rest of the answer will not come; `between_chunks`: what came ends with a whole chunk."""
        ...
