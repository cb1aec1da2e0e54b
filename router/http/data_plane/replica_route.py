"""The way to one replica: its connections, and the part of a request's head that every request there has in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from router.http.wire.request.request_headers import CREDENTIALS, FORWARDED
from router.http.wire.upstream.upstream import UpstreamPool
from router.replicas.endpoint import Endpoint
from router.replicas.ranks import RANK_HEADER

_DEFAULT_PORT = {True: 443, False: 80}
"""The port that `host` leaves out, by whether TLS is used (RFC 9110, sections 4.2.1 and 4.2.2)."""


@dataclass(slots=True)
class ReplicaRoute:
    """A replica's connections, and what is the same in the head of every request sent there.

    Attributes:
        pool: the pooled connections.
        path_prefix: what stands before the path.
        head_end: the part of the head from the HTTP version up to the value of `x-request-id`.
        own_head_end: the same for requests of the gateway's own. It has a key even where clients use theirs, and no
            gateway's name: replicas count each gateway's requests, and flow control, which compares, knows no pages.
        forwarded: names of the client's headers that are passed on there; not the one that names a rank, where the
            gateway picks it.
    """

    pool: UpstreamPool
    path_prefix: bytes
    head_end: bytes
    own_head_end: bytes
    forwarded: tuple[bytes, ...]

    @classmethod
    def to(cls, pool: UpstreamPool, *, gateway_id: str, credential: str, forward_headers: Sequence[str]) -> Self:
        """Return the route over a pool's connections.

        Args:
            pool: the connections, and the replica's endpoint.
            gateway_id: name of this gateway.
            credential: the gateway's credential, for a replica without a key of its own; "": none is sent.
            forward_headers: names, in lower case, of the client's headers passed on beside those always passed on.
        """
        endpoint = pool.endpoint
        access = endpoint.access
        # Without `accept-encoding` a replica may compress as it likes (RFC 9110, section 12.5.3).
        host = f" HTTP/1.1\r\nhost: {_host_header(endpoint)}\r\naccept-encoding: identity"
        own = {name.decode() for name in FORWARDED}
        if endpoint.rank is not None:
            host += f"\r\n{RANK_HEADER}: {endpoint.rank}"
            own.add(RANK_HEADER)
        forwarded = FORWARDED + tuple(name.encode() for name in forward_headers if name not in own)
        key = access.key or credential
        authorization = f"authorization: Bearer {key}" if key else ""
        own_head_end = _head_end(host, authorization)
        if access.passes_authorization:
            forwarded += CREDENTIALS
            authorization = ""
        head_end = _head_end(host, f"x-rackserve-gateway: {gateway_id}", authorization)
        return cls(pool, access.path_prefix.encode("ascii"), head_end, own_head_end, forwarded)


def _head_end(*lines: str) -> bytes:
    return "\r\n".join((*filter(None, lines), "x-request-id: ")).encode("latin-1")


def _host_header(endpoint: Endpoint) -> str:
    """Return the value of `host`."""
    host = endpoint.access.server_name or endpoint.host
    if ":" in host:
        host = f"[{host}]"
    is_default = endpoint.http_port == _DEFAULT_PORT[endpoint.access.uses_tls]
    return host if is_default else f"{host}:{endpoint.http_port}"
