"""What routing knows of a request: only what it needs, everything else stays opaque bytes."""

from dataclasses import dataclass


@dataclass(slots=True)
class RoutingRequest:
    """One request, as a policy sees it.

    Attributes:
        request_id: the id the client sees in `x-request-id`.
        model: the model asked for.
        path: the request's path, without the query.
        stream: the client asked for a stream of events.
        body: the body as it came, in bytes.
        session: the client's `x-session-id`, or "".
        cache_salt: what separates this tenant's prefixes from another's, or "".
    """

    request_id: str
    model: str
    path: str
    stream: bool
    body: bytes
    session: str = ""
    cache_salt: str = ""
