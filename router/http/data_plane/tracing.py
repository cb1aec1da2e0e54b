"""The interface of tracing. Without tracing there is no tracer, and each request costs one comparison with None."""

from typing import Protocol

from router.dispatch.attempt import Attempt
from router.estimator.expectation import Usage
from router.http.wire.request.incoming import IncomingRequest
from router.outcome import Outcome
from router.request import RoutingRequest


class RequestSpan(Protocol):
    """One request's span, from the request's last byte to its answer's last."""

    def dispatched(self, attempt: Attempt) -> None:
        """Note that the request goes to a replica; called again for each further replica if one fails."""
        ...

    def first_bytes(self) -> None:
        """Note that the answer's body has begun."""
        ...

    def ended(self, outcome: Outcome, usage: Usage) -> None:
        """End the span, as the request is over."""
        ...


class Tracer(Protocol):
    """Makes spans of requests."""

    def begin(self, incoming: IncomingRequest, request: RoutingRequest, tenant: str) -> RequestSpan | None:
        """Begin a request's span, as a child of the client's span if the request names one.

        The span's context is put into `incoming.headers`, which go on to the replica.

        Args:
            incoming: the request as it came.
            request: the same request, as routing sees it.
            tenant: the tenant's name.

        Returns:
            The span; None: the request is not sampled, and its headers are unchanged.
        """
        ...
