"""Suspects: requests that may be what killed their replicas, and wait until more is known of these."""

from typing import Final

from router.dispatch.replica import Replica
from router.dispatch.resends import Resends, Way
from router.dispatch.ticket import Ticket
from router.flow_control.admission import Admission
from router.flow_control.queued_request import DISPATCHED

PATIENCE_S: Final = 5.0
"""Seconds for which a suspect waits. A replica that lives is heard of sooner: it reports several times a second, and a
plain server is polled every 2 s. With a link that was cut for longer it stays unknown."""


class Suspects:
    """The suspects of one model. They are on no replica, and wait outside the queue.

    A broken connection may be the network's doing, or the request's: then the next replica would die of it, too. So a
    request goes to few replicas of which nothing is known since. But to refuse it at once would lose one for which the
    network failed three times in a row.

    Args:
        resends: decides whether another replica is asked.
        admission: the model's queue, which those go back to that were not to blame.
    """

    def __init__(self, resends: Resends, admission: Admission[Ticket, Replica]) -> None:
        self._resends = resends
        self._admission = admission
        self._waiting: list[tuple[float, Ticket]] = []

    def way(self, ticket: Ticket) -> Way:
        """Return what becomes of a request that is on no replica any more, as far as it is known now."""
        return self._resends.way(ticket, may_start=self._admission.limits.cold_start_timeout_s > 0)

    def add(self, ticket: Ticket, now_s: float) -> None:
        """Let a request that has just failed wait until its replicas are heard of."""
        self._waiting.append((now_s + PATIENCE_S, ticket))

    def settle(self, now_s: float) -> list[Ticket]:
        """Put the requests back into the queue that may go on, and return those that are to be refused."""
        waiting, self._waiting = self._waiting, []
        refused: list[Ticket] = []
        for until_s, ticket in waiting:
            if ticket.state is not DISPATCHED:  # its client has left
                continue
            way = self.way(ticket)
            if way is Way.GOES_ON:
                self._admission.put_back(ticket, now_s)
            elif way is Way.WAITS and now_s < until_s:
                self._waiting.append((until_s, ticket))
            else:
                refused.append(ticket)
        return refused

    def clear(self) -> list[Ticket]:
        """Return all that wait, and keep none."""
        waiting, self._waiting = self._waiting, []
        return [ticket for _, ticket in waiting if ticket.state is DISPATCHED]
