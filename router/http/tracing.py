"""What the data plane asks of tracing. Where none is wanted there is no tracer, and a request costs a look at None."""

from typing import Protocol

from router.dispatch.attempt import Attempt
from router.estimator.expectation import Usage
from router.http.wire.incoming import IncomingRequest
from router.outcome import Outcome
from router.request import RoutingRequest


class RequestSpan(Protocol):
    """One request's span, from its last byte to its answer's last."""

    def dispatched(self, attempt: Attempt) -> None:
        """The request goes to a replica; more than once where one fails."""
        ...

    def first_bytes(self) -> None:
        """The answer's body has begun."""
        ...

    def ended(self, outcome: Outcome, usage: Usage) -> None:
        """The request is over."""
        ...


class Tracer(Protocol):
    """Makes spans of requests."""

    def begin(self, incoming: IncomingRequest, request: RoutingRequest, tenant: str) -> RequestSpan | None:
        """Begin a request's span as its client's child, and put its context in the headers that go on to the replica.

        Returns:
            None where the request is not sampled; its headers then go on as they came.
        """
        ...
