"""The ticket: the dispatcher's handle of one request until it ends."""

from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING, Final, final

from router.flow_control.priority import Priority
from router.flow_control.queued_request import QueuedRequest
from router.request import RoutingRequest

if TYPE_CHECKING:
    from router.dispatch.attempt import Attempt, PrefillLeg
    from router.dispatch.replica import Replica
    from router.flow_control.verdict import Reject


class Fault(StrEnum):
    """Why a request cannot stay on the replica it was given to; also the metric's label of its resend."""

    STALE_CONNECTION = "stale_connection"
    """The replica closed an idle connection just as the gateway used it again. The replica did not fail."""
    LEAVING = "leaving"
    """The replica takes no more requests and has not begun this one."""
    GAVE_UP = "gave_up"
    """The engine gave up on this request within its stream. It counts like an error that the replica answered."""
    UNREACHED = "unreached"
    """The replica refuses connections, so it never had the request, which cannot have broken it. It gets none for a
    while; the request may try every other replica, as a refusal takes no time."""
    FAILED = "failed"
    """The replica broke off or does not answer. It gets no requests for a while."""
    ERROR = "error"
    """The replica answered with an error of its own. It is left out if it does so with several requests in a row."""
    DIFFERED = "differed"
    """The engine that was to repeat the end of a stream's text said something else. It did not fail: it, or another
    one, is asked to go on behind that text."""
    SLOW = "slow"
    """The replica takes far longer to compute a prompt than expected. Another one is asked; it did not fail."""
    BUSY = "busy"
    """The replica answered that it has too much to do. It gets no requests for a time, and did not fail."""


LIFE_SIGN_S: Final = 0.1
"""Seconds after a break from which a word from the replica shows that it lives: one sent before may come later."""


@final
class Failure:
    """One replica's failure to serve a request.

    Attributes:
        replica: the replica.
        fault: what it did.
        at_s: when, monotonic seconds.
    """

    __slots__ = ("at_s", "fault", "replica")

    def __init__(self, replica: "Replica", fault: Fault, at_s: float) -> None:
        self.replica = replica
        self.fault = fault
        self.at_s = at_s

    @property
    def is_survived(self) -> bool:
        """Whether a replica that broke off was heard of since: the request did not kill it."""
        return self.fault is Fault.FAILED and self.replica.heard_s > self.at_s + LIFE_SIGN_S


class Ticket(QueuedRequest):
    """One request's way through the dispatcher. Its `state` says where it is.

    Attributes:
        request: the request, as routing sees it.
        attempt: its attempt on a replica now; None while it waits, and once the attempt is over.
        tried: the replicas that failed it. A process that has started anew in place of one is not among them.
        failures: its attempts that failed, in order.
        is_resent: it was sent again because a replica answered with an error; the next answer is the client's.
        erring: a replica that answered it with an error which is not counted, as it had the same request before; None:
            there is none.
        is_resumed: the client has part of the answer, and another replica continues it. It is then sent on without
            waiting for room.
        refusal: why it will not be served; None while it may still be served.
        prefill: the leg in which another replica computes its prompt, or has done so; None: its attempt's replica does.
        legs: replicas that its prompt was given to so far.
        first_token_s: when its answer began, monotonic seconds; None: it has not yet.
    """

    __slots__ = (
        "attempt",
        "erring",
        "failures",
        "first_token_s",
        "is_resent",
        "is_resumed",
        "legs",
        "prefill",
        "refusal",
        "request",
        "tried",
    )

    def __init__(
        self,
        request: RoutingRequest,
        tenant: str,
        priority: Priority = Priority.NORMAL,
        size_bytes: int = 0,
        deadline_s: float = inf,
    ) -> None:
        super().__init__(tenant, 0.0, priority, size_bytes, deadline_s, request.targets)
        self.request = request
        self.attempt: Attempt | None = None
        self.tried: frozenset[Replica] = frozenset()
        self.failures: tuple[Failure, ...] = ()
        self.is_resent = False
        self.erring: Replica | None = None
        self.is_resumed = False
        self.refusal: Reject | None = None
        self.prefill: PrefillLeg | None = None
        self.legs = 0
        self.first_token_s: float | None = None

    def forgive(self) -> None:
        """Let it be given again to replicas that broke off with it and were heard of since: they survived it."""
        if self.failures:
            last = {each.replica: each for each in self.failures}
            self.tried -= {replica for replica, failure in last.items() if failure.is_survived}

    def failed(self, replica: "Replica", fault: Fault, now_s: float) -> None:
        """Note why it could not stay on a replica, and whether that one is to be asked again."""
        if fault in {Fault.STALE_CONNECTION, Fault.LEAVING, Fault.DIFFERED}:
            return
        self.tried |= {replica}
        self.failures += (Failure(replica, fault, now_s),)
        if fault in {Fault.ERROR, Fault.BUSY}:
            self.is_resent = True

    def failures_told(self, now_s: float) -> list[str]:
        """Return for people which replicas failed it, how, when, and whether they were heard of since."""
        return [
            f"{each.replica.replica_id} {each.fault} {now_s - each.at_s:.1f} s ago"
            f"{', and was heard of since' if each.is_survived else ''}"
            for each in self.failures
        ]
