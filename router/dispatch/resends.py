"""Resends: whether a request that its replica did not answer well goes to another one."""

from enum import Enum, auto
from typing import Final

from router.dispatch.fleet import Fleet
from router.dispatch.replica import Replica
from router.dispatch.ticket import Fault, Ticket
from router.flow_control.verdict import reject
from router.outcome import Outcome

MAX_ATTEMPTS: Final = 3
"""Failed attempts after which a request is refused. So a request that kills its replica cannot kill them all. A break
that its replica survived is none of them."""
MAX_ATTEMPTS_OF_STREAM: Final = 4
"""The same for a stream that was resumed: each attempt has brought it on, so three replicas may die with it."""
MAX_BREAKS: Final = 12
"""Failed attempts after which a request is refused in any case: something on its way may break off for what it says."""
ALL_FAILED = reject(Outcome.REPLICA_FAILED, 1.0, "every replica that was tried failed before answering")
"""The refusal of a request that no replica is left to try."""
FRUITLESS_SHARE = 0.2
"""Resends that may bring an error again, as a share of all requests. Finagle and Envoy allow the same share
(`RetryBudget`, `retry_budget`): where all replicas fail, resending every request would double the load."""
FRUITLESS_AT_ONCE = 10.0
"""How many of them there may be at once, whatever the number of requests."""


class ResendBudget:
    """Bounds the resends that bring an error again; one that brings an answer costs nothing.

    So all requests of one failed replica are answered by others, however many it had, but where all replicas fail,
    or a client's requests fail everywhere, few requests are sent twice.
    """

    __slots__ = ("_left", "_offered")

    def __init__(self) -> None:
        self._left = FRUITLESS_AT_ONCE
        self._offered = 0

    def allows(self, offered: int) -> bool:
        """Tell whether a request may be sent again.

        Args:
            offered: number of requests that had been offered to the model when this one was.
        """
        if offered > self._offered:
            self._left = min(FRUITLESS_AT_ONCE, self._left + FRUITLESS_SHARE * (offered - self._offered))
            self._offered = offered
        return self._left >= 1.0

    def was_fruitless(self) -> None:
        """Count a request whose second answer is an error, too."""
        self._left = max(0.0, self._left - 1.0)


class Way(Enum):
    """What becomes of a request that its replica failed."""

    GOES_ON = auto()
    """It goes to another replica, at once or when one has room."""
    WAITS = auto()
    """It may be what killed its replicas. Those that are heard of in time it did not kill."""
    REFUSED = auto()


def attempts_left(ticket: Ticket) -> int:
    """Return how many replicas may still fail a request before it is refused."""
    most = MAX_ATTEMPTS_OF_STREAM if ticket.is_resumed else MAX_ATTEMPTS
    had = [each for each in ticket.failures if each.fault is not Fault.UNREACHED]
    return min(most - sum(not each.is_survived for each in had), MAX_BREAKS - len(had))


class Resends:
    """Decides whether another replica is asked after one has answered with an error.

    Args:
        fleet: the model's replicas.

    Attributes:
        is_closed: the model is no longer served, so nothing is sent again.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.is_closed = False
        self._fleet = fleet
        self._budget = ResendBudget()

    def untried(self, ticket: Ticket) -> list[Replica]:
        """Return the replicas that are not leaving and have not failed this request, in id order.

        One that broke off and was heard of since is asked again: it has survived the request.
        """
        ticket.forgive()
        staying = self._fleet.staying(ticket.request.replica_id)
        return [replica for replica in staying if replica not in ticket.tried]

    def way(self, ticket: Ticket, *, may_start: bool) -> Way:
        """Return what becomes of a request that is on no replica any more, as far as it is known now.

        Args:
            ticket: the request's ticket.
            may_start: requests wait for a first replica where there is none.
        """
        others = self.untried(ticket)
        if self.is_closed or (ticket.request.replica_id and not others):
            return Way.REFUSED
        if attempts_left(ticket) > 0 and (others or (may_start and not self._fleet.staying())):
            return Way.GOES_ON
        return Way.WAITS if self._may_be_heard_of(ticket) else Way.REFUSED

    def _may_be_heard_of(self, ticket: Ticket) -> bool:
        """Tell whether a replica that broke off with a request may still show that it lives, and others are there."""
        if len(ticket.failures) >= MAX_BREAKS or len(self._fleet.staying()) <= 1:
            return False
        replicas = self._fleet.replicas
        return any(
            each.fault is Fault.FAILED
            and not each.is_survived
            and replicas.get(each.replica.replica_id) is each.replica
            for each in ticket.failures
        )

    def allows(self, ticket: Ticket, now_s: float) -> bool:
        """Tell whether a request whose replica answers with an error goes elsewhere: once, and if that may help."""
        if ticket.is_resent:
            self._budget.was_fruitless()
            return False
        is_pinned = bool(ticket.request.replica_id)
        is_last = is_pinned or self.is_closed or attempts_left(ticket) <= 1
        return not is_last and self._has_alternative(ticket, now_s) and self._budget.allows(ticket.number)

    def _has_alternative(self, ticket: Ticket, now_s: float) -> bool:
        """Tell whether another replica is in use, and not to be left alone for a time."""
        attempt = ticket.attempt
        return any(
            replica.accepting
            and replica.slots.busy_until_s <= now_s
            and replica not in ticket.tried
            and (attempt is None or replica is not attempt.replica)
            for replica in self._fleet.candidates
        )
