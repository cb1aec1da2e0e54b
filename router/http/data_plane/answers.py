"""Writes the answers that the gateway gives itself, without a replica."""

import asyncio
from typing import Protocol

from router.http.api.errors import error_body, shape_path
from router.http.data_plane.access_log import AccessEntry, peer_of
from router.http.data_plane.data_plane import DataPlane
from router.http.wire.request.incoming import IncomingRequest
from router.http.wire.responses import response
from router.outcome import HTTP_STATUS, Outcome


class Writable(Protocol):
    """A connection that an answer can be written to."""

    transport: asyncio.Transport


class Answers:
    """Writes the answers that the gateway gives itself, and counts the refusals.

    Args:
        plane: the gateway's shared state.
    """

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def answer(  # noqa: PLR0913 - the parts of a response
        self,
        client: Writable,
        incoming: IncomingRequest,
        status: int,
        body: bytes,
        *,
        content_type: bytes = b"application/json",
        headers: bytes = b"",
    ) -> None:
        """Write a whole answer.

        Args:
            client: the client's connection.
            incoming: the request.
            status: the HTTP status.
            body: the answer's body; left out if the method is HEAD.
            content_type: the body's type.
            headers: further header lines, each with its line end.
        """
        client.transport.write(
            response(
                status,
                body,
                content_type=content_type,
                headers=headers + incoming.answer_headers,
                close=not incoming.keep_alive or self._plane.draining,
                http_1_0=incoming.http_1_0,
                head_only=incoming.method == b"HEAD",
            )
        )

    def refuse(  # noqa: PLR0913 - what a refusal says
        self,
        client: Writable,
        incoming: IncomingRequest,
        outcome: Outcome,
        message: str,
        *,
        tenant: str = "",
        model: str = "",
        param: str | None = None,
        headers: bytes = b"",
    ) -> None:
        """Write a refusal and count it.

        Args:
            client: the client's connection.
            incoming: the request.
            outcome: the reason; also the error's `code`.
            message: what was wrong and what would be right.
            tenant: the tenant's name; "": not known.
            model: the model that was asked for; "" unless the cluster serves it.
            param: the body's field that is wrong; None: the error is about no field.
            headers: further header lines, each with its line end.
        """
        self._plane.meters.ended(model, tenant, outcome)
        request_id = incoming.given_id() or self._plane.new_request_id()
        if self._plane.access_log is not None:
            self._plane.access_log.write(
                AccessEntry(
                    request_id=request_id.decode("ascii"),
                    client=peer_of(client.transport),
                    method=incoming.method.decode("latin-1"),
                    path=incoming.path.decode("latin-1"),
                    outcome=outcome,
                    status=HTTP_STATUS[outcome],
                    tenant=tenant,
                    model=model,
                    request_bytes=len(incoming.body),
                )
            )
        headers += b"x-request-id: " + request_id + b"\r\n"
        if outcome is Outcome.UNAUTHORIZED:
            headers += b"www-authenticate: Bearer\r\n"
        elif outcome is Outcome.NO_REPLICA:
            headers += b"retry-after: 1\r\n"
        body = error_body(
            outcome, message, param, path=shape_path(incoming.path, incoming.headers), request_id=request_id
        )
        self.answer(client, incoming, HTTP_STATUS[outcome], body, headers=headers)
