"""The judge: what a replica's answer, or its lack, says about the replica, and whether another one is asked."""

from router.dispatch.attempt import Attempt
from router.dispatch.backpressure import pause_s
from router.dispatch.health import Standing
from router.dispatch.replica import Replica
from router.dispatch.resends import Resends, attempts_left
from router.dispatch.takers import Takers
from router.dispatch.ticket import Fault, Ticket


class Judge:
    """Judges a model's replicas by how they answer, and tells the circuit breaker.

    What was sent to a replica before it was left out says nothing about it since, good or bad, and is not judged.

    Args:
        takers: the replicas that take requests, which change with the judgement.
        resends: decides whether another replica is asked.
    """

    def __init__(self, takers: Takers, resends: Resends) -> None:
        self._takers = takers
        self._resends = resends
        self._breaker = takers.fleet.breaker

    def sent(self, attempt: Attempt, now_s: float) -> None:
        """Note that a request was given to a replica on probation: it decides, unless too few replicas are in use."""
        self._changed(self._breaker.begin_probe(attempt, now_s), now_s)

    def answers(self, ticket: Ticket, attempt: Attempt, now_s: float) -> bool:
        """Note that a replica begins to answer well.

        If another one answered the same request with an error, that was the fault of the other one.

        Returns:
            Whether the replica had been left out, and gets requests again.
        """
        erring = ticket.erring
        if erring is not None:
            ticket.erring = None
            self._changed(self._breaker.erred(erring, hash(ticket.request.request_id), now_s), now_s)
        replica = attempt.replica
        if replica.health.standing is Standing.UP or not _is_fresh(attempt):
            return False
        replica.heard_s = now_s
        self._changed(self._breaker.answered(replica), now_s)
        self._is_reached(replica, now_s)
        return replica.accepting

    def refuses(self, ticket: Ticket, now_s: float) -> None:
        """Note that a request's replica says that the request is wrong (4xx), which is no fault of the replica.

        It can be reached; whether it works is not known.
        """
        attempt = ticket.attempt
        if attempt is not None and not attempt.replica.health.by_errors and _is_fresh(attempt):
            self._changed(self._breaker.answered(attempt.replica), now_s)
            self._is_reached(attempt.replica, now_s)

    @staticmethod
    def _is_reached(replica: Replica, now_s: float) -> None:
        for sharer in replica.shared.process.sharers():
            sharer.is_reached(now_s)

    def answers_error(
        self, ticket: Ticket, fault: Fault, now_s: float, *, retry_after_s: float | None = None, is_repeatable: bool
    ) -> bool:
        """Note that a request's replica answers it with an error.

        Args:
            ticket: the request's ticket.
            fault: ERROR: it counts against the replica; BUSY: the replica is left alone for a time.
            now_s: when the answer's head came, monotonic seconds.
            retry_after_s: for how long a BUSY replica asks to be left alone; None: it does not say.
            is_repeatable: another replica may be asked, as the request left nothing behind on this one.

        Returns:
            Whether another replica should answer: then call `Dispatcher.fail`. Else this answer is the client's.
        """
        attempt = ticket.attempt
        if attempt is None:
            return False
        self.errs(ticket, attempt, fault, now_s, retry_after_s)
        return is_repeatable and self._resends.allows(ticket, now_s)

    def errs(
        self, ticket: Ticket, attempt: Attempt, fault: Fault, now_s: float, retry_after_s: float | None = None
    ) -> None:
        """Note that a replica answers with an error; see `answers_error`."""
        if fault is not Fault.BUSY:
            self._errs(ticket, attempt, now_s)
            return
        replica, until_s = attempt.replica, now_s + pause_s(retry_after_s)
        self._takers.slots.back_off(replica, until_s, now_s)
        for sharer in replica.shared.sharers():
            sharer.is_busy(until_s, now_s)

    def has_other(self, ticket: Ticket) -> bool:
        """Tell whether another replica can be asked in place of the one that a request is on."""
        return any(self._others(ticket))

    def has_well_other(self, ticket: Ticket, *, continuing: bool) -> bool:
        """Tell the same of replicas that take requests and are not silent.

        Args:
            ticket: the request's ticket.
            continuing: it must be known to continue a message that another replica began.
        """
        return any(
            replica.usable and (replica.endpoint.continues_messages or not continuing)
            for replica in self._others(ticket)
        )

    def _others(self, ticket: Ticket) -> list[Replica]:
        if attempts_left(ticket) <= 1:
            return []
        attempt = ticket.attempt
        here = attempt.replica if attempt is not None else None
        return [replica for replica in self._resends.untried(ticket) if replica is not here]

    def leaves_continuing(self, ticket: Ticket) -> bool:
        """Keep a stream from replicas that may not continue a message; return whether there are others."""
        staying = self._takers.fleet.staying()
        strangers = {each for each in staying if not each.endpoint.continues_messages}
        ticket.tried |= strangers
        return len(strangers) < len(staying)

    def gives_up(self, ticket: Ticket, now_s: float) -> None:
        """Note that an engine gave up on a request within its stream, where no other replica can continue it."""
        if ticket.attempt is not None:
            self._errs(ticket, ticket.attempt, now_s)

    def _errs(self, ticket: Ticket, attempt: Attempt, now_s: float) -> None:
        """Count an error; of the same body only once in a row, as a bad request comes again and again."""
        if not _is_fresh(attempt):
            return
        replica, key = attempt.replica, hash(ticket.request.body)
        if key in replica.health.errors:
            ticket.erring = replica
        self._changed(self._breaker.erred(replica, key, now_s), now_s)

    def breaks_off(self, attempt: Attempt, now_s: float) -> None:
        """Note that a replica's connection broke, or could not be opened."""
        if not _is_fresh(attempt):
            return
        self._changed(self._breaker.broke_off(attempt.replica, now_s), now_s)
        for sharer in attempt.replica.shared.process.sharers():
            sharer.broke_off(now_s)

    def taken_off(self, ticket: Ticket, attempt: Attempt, fault: Fault, now_s: float) -> None:
        """Note why a request is taken off its replica. ERROR and BUSY were judged when the answer's head came."""
        if fault in {Fault.FAILED, Fault.UNREACHED}:
            self.breaks_off(attempt, now_s)
        elif fault is Fault.GAVE_UP:
            self._errs(ticket, attempt, now_s)
        elif fault is Fault.LEAVING:
            replica = attempt.replica
            self._takers.leaving(replica, now_s)
            if self._takers.fleet.replicas.get(replica.replica_id) is replica:  # not one of a former life
                for sharer in replica.shared.process.sharers():
                    sharer.leaves(now_s)

    @staticmethod
    def completes(attempt: Attempt) -> None:
        """Forget a replica's errors and pauses, as it has given a whole answer."""
        health = attempt.replica.health
        if health.standing is Standing.UP and _is_fresh(attempt):
            health.forget()

    def ended(self, attempt: Attempt, now_s: float) -> None:
        """Note that an attempt ended. If it was a probe and decided nothing, another may follow."""
        if attempt.replica.health.probe is attempt:
            self._changed(self._breaker.end_probe(attempt.replica), now_s)

    def tick(self, now_s: float) -> None:
        """Let replicas back in, on probation, whose pause is over."""
        self._changed(self._breaker.tick(now_s), now_s)

    def _changed(self, accepting: bool, now_s: float) -> None:  # noqa: FBT001 - the breaker's answer, passed on
        if accepting:
            self._takers.accepting_changed(now_s)


def _is_fresh(attempt: Attempt) -> bool:
    """Tell whether the request was sent after its replica was last left out."""
    return attempt.expectation.sent_s >= attempt.replica.health.out_s
