"""What the simulated fleet asks of whoever decides where requests go."""

from collections.abc import Iterable
from typing import Protocol

from router.dispatch.ticket import Ticket
from router.estimator.expectation import Usage
from router.outcome import Outcome
from router.prefix_cache.exact import ResidencyDelta
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.request import RoutingRequest


class LegDispatcher(Protocol):
    """The part of `Dispatcher` that the fleet calls; a rule that it is compared with has it, too."""

    refused: list[Ticket]

    @property
    def someone_waits(self) -> bool:
        """Whether at least one request waits."""
        ...

    def set_replicas(self, endpoints: Iterable[Endpoint], now_s: float) -> object:
        """Set which replicas exist."""
        ...

    def offer(self, request: RoutingRequest, tenant: str, now_s: float) -> Ticket:
        """Take a new request: dispatch it, let it wait, or refuse it."""
        ...

    def next(self, now_s: float) -> Ticket | None:
        """Give the waiting request whose turn it is to a replica, and return it."""
        ...

    def next_opening_s(self) -> float | None:
        """Return when a replica will have room, so when to call `next`; None: it is not known."""
        ...

    def prefill_done(self, ticket: Ticket, usage: Usage, now_s: float) -> None:
        """Note that a request's prompt is computed at its prefill replica."""
        ...

    def first_token(self, ticket: Ticket, now_s: float) -> None:
        """Note that an answer's body has begun."""
        ...

    def finish(self, ticket: Ticket, outcome: Outcome, usage: Usage, now_s: float, *, is_whole: bool = False) -> None:
        """End a request."""
        ...

    def report(self, replica_id: str, report: LoadReport | None, now_s: float) -> None:
        """Take a replica's load report."""
        ...

    def apply_residency(self, replica_id: str, delta: ResidencyDelta) -> bool:
        """Apply a replica's delta of its cache contents."""
        ...

    def tick(self, now_s: float) -> None:
        """Do what is due."""
        ...
