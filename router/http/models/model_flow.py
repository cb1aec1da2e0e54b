"""Runs one model's dispatcher on the gateway's event loop.

It keeps the requests that wait and asks the dispatcher for the next one when a replica may have room. Nothing here
awaits, and while no request waits nothing is scheduled.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from router.dispatch.dispatcher import Dispatcher
from router.dispatch.ticket import Fault, Ticket
from router.flow_control.priority import Priority
from router.flow_control.queued_request import WAITING
from router.http.models.earliest_call import EarliestCall
from router.replicas.load_report import LoadReport

DISPATCHES_A_TURN: Final = 64
"""Most waiting requests sent in one turn of the event loop, so that other requests' bytes move in between."""

_log: Final = structlog.get_logger("rackserve.gateway")


class Waiter(Protocol):
    """A request that may have to wait."""

    def dispatched(self) -> None:
        """Send the request to its ticket's replica, or answer its ticket's refusal."""
        ...

    def failed_inside(self) -> None:
        """Refuse the request, as the gateway itself failed with it."""
        ...


class ModelFlow:
    """Runs one model's dispatcher.

    Args:
        dispatcher: the model's dispatcher.
        now_s: returns the time, monotonic seconds.
        on_dispatched: called for each request that goes to a replica, with its class and the seconds it waited.
        on_held: called when a request is held because no replica of the model takes requests.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        now_s: Callable[[], float],
        on_dispatched: Callable[[Priority, float], None],
        on_held: Callable[[], None],
    ) -> None:
        self.dispatcher = dispatcher
        self.now_s = now_s
        self._on_dispatched = on_dispatched
        self._on_held = on_held
        self._waiters: dict[int, Waiter] = {}
        self._pump_is_due = False
        self._opening = EarliestCall(self.room_opened)
        dispatcher.when_room(self.room_opened)

    def offered(self, ticket: Ticket, waiter: Waiter) -> None:
        """Take a request that was just offered; its waiter's `dispatched` is called before this returns, or later."""
        if ticket.state is WAITING:
            self._wait(ticket, waiter)
            return
        if ticket.refusal is None:
            self._on_dispatched(ticket.priority, 0.0)
        waiter.dispatched()

    def fail(self, ticket: Ticket, fault: Fault, waiter: Waiter) -> None:
        """Take a request off its replica; its waiter's `dispatched` is called before this returns, or later.

        Args:
            ticket: the request's ticket.
            fault: why it cannot stay.
            waiter: the request.
        """
        self.dispatcher.fail(ticket, fault, self.now_s())
        if ticket.attempt is None and ticket.refusal is None:
            self._wait(ticket, waiter)
        else:
            waiter.dispatched()
        self.room_opened()

    def ended(self, ticket: Ticket) -> None:
        """Forget a request that is over; a waiting one may have its room."""
        self._waiters.pop(ticket.number, None)
        if self.dispatcher.someone_waits:
            self.room_opened()

    def report(self, replica_id: str, report: LoadReport | None) -> None:
        """Take a replica's load report; None: its reports no longer arrive."""
        self.dispatcher.report(replica_id, report, self.now_s())
        self.room_opened()

    def tick(self) -> None:
        """Refuse requests that have waited too long; call a few times a second."""
        self.dispatcher.tick(self.now_s())
        self.answer_refused()
        self.room_opened()

    def room_opened(self) -> None:
        """Dispatch waiting requests in the next turn of the event loop, as a replica may have room."""
        if self.dispatcher.someone_waits and not self._pump_is_due:
            self._pump_is_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def answer_refused(self) -> None:
        """Answer the requests that waited and will not be served."""
        refused, self.dispatcher.refused = self.dispatcher.refused, []
        for ticket in refused:
            waiter = self._waiters.pop(ticket.number, None)
            if waiter is not None:
                waiter.dispatched()

    def _wait(self, ticket: Ticket, waiter: Waiter) -> None:
        self._waiters[ticket.number] = waiter
        if self.dispatcher.refused:
            self.answer_refused()
        if self.dispatcher.is_taking:
            self._watch_openings(self.now_s())
        else:
            self._on_held()

    def _pump(self) -> None:
        self._pump_is_due = False
        now_s = self.now_s()
        for _ in range(DISPATCHES_A_TURN):
            ticket = self.dispatcher.next(now_s)
            if ticket is None:
                if self.dispatcher.someone_waits:
                    self._watch_openings(now_s)
                return
            self._on_dispatched(ticket.priority, now_s - ticket.arrived_s)
            waiter = self._waiters.pop(ticket.number)
            try:
                waiter.dispatched()
            except Exception:  # noqa: BLE001 - a defect here must cost one request, not those behind it
                _log.exception("request failed inside the gateway", model=self.dispatcher.model)
                waiter.failed_inside()
        self.room_opened()

    def _watch_openings(self, now_s: float) -> None:
        """Dispatch again at the time when the dispatcher expects a replica to have room."""
        opens_s = self.dispatcher.next_opening_s()
        if opens_s is not None:
            self._opening.within(opens_s - now_s)
