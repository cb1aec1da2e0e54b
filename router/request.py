"""A request as routing sees it: the few fields it needs; the body stays opaque bytes."""

import msgspec

from router.prefix_cache.match import NO_MATCH, PrefixMatch
from router.prompt.chunk_chain import EMPTY_CHAIN, ChunkChain


class RoutingRequest(msgspec.Struct, gc=False):
    """One request, as routing policies see it.

    Attributes:
        request_id: the id the client sees in `x-request-id`.
        model: the model asked for.
        path: the request's path, without the query.
        stream: the client asked for a stream of events.
        body: the body as it came, in bytes.
        session: the client's `x-session-id`, or "".
        max_tokens: the request's own limit of its answer's tokens; None: it sets none.
        output_tokens: expected length of the answer, in tokens; 0 where none is generated.
        now_s: when a replica is chosen for it, in the gateway's monotonic seconds.
        chain: the prompt's chunks; empty where the prompt is not understood or no policy asks for it.
        match: what replicas hold of the prompt, as of `now_s`.
        replica_id: the one replica that can serve it, as it alone has what the request refers to; "": any can.
    """

    request_id: str
    model: str
    path: str
    stream: bool
    body: bytes
    session: str = ""
    max_tokens: int | None = None
    output_tokens: float = 0.0
    now_s: float = 0.0
    chain: ChunkChain = EMPTY_CHAIN
    match: PrefixMatch = msgspec.field(default_factory=lambda: NO_MATCH)
    replica_id: str = ""
