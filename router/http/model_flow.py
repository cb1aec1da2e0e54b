"""One model's dispatcher on the gateway's event loop: who waits for it, and when it is asked for the next request.

Nothing here awaits, and where nothing waits nothing is scheduled.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from router.dispatch.dispatcher import Dispatcher
from router.dispatch.ticket import Fault, Ticket
from router.flow_control.priority import Priority
from router.flow_control.queued_request import RequestState
from router.replicas.load_report import LoadReport

DISPATCHES_A_TURN = 64
"""Waiting requests sent in one go; between two goes the event loop moves other requests' bytes."""

_log = structlog.get_logger("rackserve.gateway")


class Waiter(Protocol):
    """A request that may have to wait."""

    def dispatched(self) -> None:
        """Its ticket is on a replica, or refused: go there, or say so."""
        ...

    def failed_inside(self) -> None:
        """The gateway itself failed with it."""
        ...


class ModelFlow:
    """Drives one dispatcher.

    Args:
        dispatcher: the model's.
        now_s: monotonic seconds.
        on_dispatched: called with the class of each request that goes to a replica, and the seconds it waited.
        on_held: called when a request is held because the model has no replica.
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
        self._opening: asyncio.Handle | None = None
        self._opening_due_s = 0.0

    def offered(self, ticket: Ticket, waiter: Waiter) -> None:
        """Go on with a request that was just offered: its waiter is told `dispatched` before this returns, or later."""
        if ticket.state is RequestState.WAITING:
            self._wait(ticket, waiter)
            return
        if ticket.refusal is None:
            self._on_dispatched(ticket.priority, 0.0)
        waiter.dispatched()

    def fail(self, ticket: Ticket, fault: Fault, waiter: Waiter) -> None:
        """A request cannot stay on its replica: its waiter is told `dispatched` before this returns, or later."""
        self.dispatcher.fail(ticket, fault, self.now_s())
        if ticket.state is RequestState.WAITING:
            self._wait(ticket, waiter)
        else:
            waiter.dispatched()
        self.room_opened()

    def ended(self, ticket: Ticket) -> None:
        """A request is over: nobody waits for it, and others may have its room."""
        self._waiters.pop(ticket.number, None)
        if self.dispatcher.someone_waits:
            self.room_opened()

    def report(self, replica_id: str, report: LoadReport | None) -> None:
        """Take a replica's load report; None: it has fallen silent."""
        self.dispatcher.report(replica_id, report, self.now_s())
        self.room_opened()

    def tick(self) -> None:
        """Refuse those whose time is over; call a few times a second."""
        self.dispatcher.tick(self.now_s())
        self.answer_refused()
        self.room_opened()

    def room_opened(self) -> None:
        """A replica may have room: dispatch what waits, once what is being done now is done."""
        if self.dispatcher.someone_waits and not self._pump_is_due:
            self._pump_is_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def answer_refused(self) -> None:
        """Answer those that waited and will not be served."""
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
            except Exception:  # noqa: BLE001 - a mistake of ours must cost one request, not those behind it
                _log.exception("request failed inside the gateway", model=self.dispatcher.model)
                waiter.failed_inside()
        self.room_opened()

    def _watch_openings(self, now_s: float) -> None:
        """Look again when a replica will have prefilled what it was given."""
        opens_s = self.dispatcher.next_opening_s()
        if opens_s is None:
            return
        loop = asyncio.get_running_loop()
        due_s = loop.time() + max(0.0, opens_s - now_s)
        if self._opening is not None:
            if self._opening_due_s <= due_s:
                return
            self._opening.cancel()
        # Its own `when` is not to be asked: uvloop makes no timer of what is due within half a millisecond.
        self._opening = loop.call_at(due_s, self._opened)
        self._opening_due_s = due_s

    def _opened(self) -> None:
        self._opening = None
        self.room_opened()
