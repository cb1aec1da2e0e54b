"""Writes a client something that means nothing, so that one that has left is found out (see `HalfClosed`)."""

import asyncio

from router.http.exchange.relayed_answer import RelayedAnswer
from router.http.wire.request.incoming import IncomingRequest
from router.http.wire.responses import CONTINUE


def probe_client(transport: asyncio.Transport, incoming: IncomingRequest, answer: RelayedAnswer) -> None:
    """Write an interim answer, or a comment if the answer is a stream that has begun; else nothing.

    Args:
        transport: the client's transport.
        incoming: its request; a client of HTTP/1.0 knows no interim answers.
        answer: the answer, of whose body nothing has come.
    """
    if answer.is_early or (answer.head is not None and not answer.is_resumed):
        answer.beat(b"")
    elif answer.head is None and not incoming.http_1_0:
        transport.write(CONTINUE)
