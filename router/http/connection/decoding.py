"""Decodes a compressed request body in the event loop's free moments, before the request is answered."""

import asyncio
from collections.abc import Callable

from router.http.wire.request.content_coding import ContentCodingError, DecodedTooLongError
from router.http.wire.request.incoming import BYTE_ORDER_MARK, EncodedRequest, IncomingRequest, RefusedRequest
from router.outcome import Outcome


class Decoding:
    """One body that is being decoded: one step in each turn of the event loop.

    Args:
        encoded: the request.
        most_bytes: length of the decoded body above which it is refused, for the refusal's text.
        count: called with the bytes that the body takes after each step; it may end this.
        then: called with the request once its body is decoded, or with a refusal.
    """

    def __init__(
        self,
        encoded: EncodedRequest,
        most_bytes: int,
        count: Callable[[int], None],
        then: Callable[[IncomingRequest | RefusedRequest], None],
    ) -> None:
        self._encoded = encoded
        self._most_bytes = most_bytes
        self._count = count
        self._then = then
        self._is_over = False

    def start(self) -> None:
        """Begin to decode."""
        asyncio.get_running_loop().call_soon(self._step)

    def _step(self) -> None:
        if self._is_over:
            return
        encoded = self._encoded
        try:
            body = encoded.decoder.step()
        except DecodedTooLongError:
            message = f"the request body has over {self._most_bytes} bytes once decoded"
            self._then(RefusedRequest(Outcome.BODY_TOO_LARGE, message, encoded.request.path))
        except ContentCodingError as error:
            self._then(RefusedRequest(Outcome.BAD_REQUEST, str(error), encoded.request.path))
        else:
            if body is None:
                self._count(encoded.decoder.held_bytes)
                asyncio.get_running_loop().call_soon(self._step)
                return
            encoded.request.body = body.removeprefix(BYTE_ORDER_MARK)
            self._then(encoded.request)

    def client_left(self) -> None:
        """Stop, as the client is gone."""
        self._is_over = True

    def client_is_slow(self) -> None:
        """Do nothing: no bytes are produced."""

    def client_caught_up(self) -> None:
        """Do nothing: no bytes are produced."""

    def probe_client(self) -> None:
        """Do nothing: the body is decoded soon."""

    def client_sent(self, data: bytes) -> bool:
        """Leave the bytes until the request has been answered."""
        del data
        return False

    def gateway_ends(self) -> None:
        """Do nothing: no answer has begun."""

    def tick(self) -> None:
        """Do nothing: the body's length bounds the time."""
