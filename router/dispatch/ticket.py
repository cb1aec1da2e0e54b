"""The ticket: the dispatcher's handle of one request until it ends."""

from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING

from router.flow_control.priority import Priority
from router.flow_control.queued_request import QueuedRequest
from router.request import RoutingRequest

if TYPE_CHECKING:
    from router.dispatch.attempt import Attempt
    from router.flow_control.verdict import Reject


class Fault(Enum):
    """Why a request cannot stay on the replica it was given to."""

    STALE_CONNECTION = auto()
    """The replica closed an idle connection just as the gateway used it again. The replica did not fail."""
    LEAVING = auto()
    """The replica takes no more requests and has not begun this one."""
    GAVE_UP = auto()
    """The engine gave up on this request, but the replica still works."""
    FAILED = auto()
    """The replica broke off or does not answer. It gets no requests for a while."""


class Ticket(QueuedRequest):
    """One request's way through the dispatcher. Its `state` says where it is.

    Attributes:
        request: the request, as routing sees it.
        attempt: its attempt on a replica now; None while it waits, and once the attempt is over.
        tried: ids of the replicas that failed it.
        failures: number of attempts that failed.
        is_resumed: the client has part of the answer, and another replica continues it. It is then sent on without
            waiting for room.
        refusal: why it will not be served; None while it may still be served.
    """

    __slots__ = ("attempt", "failures", "is_resumed", "refusal", "request", "tried")

    def __init__(  # noqa: PLR0913, PLR0917 - what is known of a request; positional for the hot path
        self,
        request: RoutingRequest,
        tenant: str,
        work: float,
        priority: Priority = Priority.NORMAL,
        size_bytes: int = 0,
        deadline_s: float = inf,
    ) -> None:
        super().__init__(tenant, work, priority, size_bytes, deadline_s)
        self.request = request
        self.attempt: Attempt | None = None
        self.tried: frozenset[str] = frozenset()
        self.failures = 0
        self.is_resumed = False
        self.refusal: Reject | None = None
