"""Takes a request off a replica that sends nothing: one that gives no sign of life at all, or has had all its time."""

from http import HTTPStatus
from math import inf
from typing import Final

from router.dispatch.ticket import Fault
from router.flow_control.verdict import Reject
from router.http.data_plane.data_plane import TICK_S
from router.http.data_plane.life_signs import PATIENCE_TICKS, QUIET_TICKS
from router.http.exchange.failover import Failover
from router.http.wire.upstream.upstream import UpstreamConnection
from router.outcome import Outcome

LOST: Final = f"gave no sign of life for {TICK_S * (QUIET_TICKS + PATIENCE_TICKS):g} s"


class SilenceFailover(Failover):
    """The part of an exchange that acts on silence.

    A replica that is hung, or behind a link that is cut, closes no connection. So when an answer has stopped for a
    second, and nothing else says that its replica lives, the replica is asked (`LifeSigns`). If it does not answer,
    and another one is well, the request goes there: the stream is resumed, or a request without an answer sent again.
    An answer that cannot go elsewhere waits on: its replica may come back.
    """

    __slots__ = ()

    def act_on_silence(self, upstream: UpstreamConnection) -> None:
        """Look at a replica's silence; called a few times a second, after `upstream.tick`."""
        quiet_ticks = upstream.quiet_ticks
        timeout_s = self.model_timeout_s()
        if quiet_ticks * TICK_S > timeout_s:
            self.timed_out(timeout_s)
        elif quiet_ticks >= QUIET_TICKS and self._is_lost(upstream):
            self._leave(upstream)

    def model_timeout_s(self) -> float:
        """Return the seconds of silence after which the replica has failed; infinite: no limit is known."""
        return self._plane.request_timeouts_s.get(self._ticket.request.model, inf)

    def _is_lost(self, upstream: UpstreamConnection) -> bool:
        """Tell whether the replica gives no sign of life, while another one does that could take the request."""
        attempt = self._ticket.attempt
        if attempt is None or self._ended:
            return False
        replica, dispatcher = attempt.replica, self._flow.dispatcher
        if replica.report is not None and not replica.silent:
            return False  # its telemetry says that it lives
        if not any(other != replica.replica_id for other in dispatcher.fleet.replicas):
            return False
        if not self._plane.life_signs.is_lost(upstream.pool, self._plane.route_over):
            return False
        return dispatcher.judge.has_well_other(self._ticket, continuing=self.answer.head is not None)

    def _leave(self, upstream: UpstreamConnection) -> None:
        """Give the request to another replica, if it can go there."""
        if self.answer.head is not None:
            if self._resume(Fault.FAILED, LOST):
                upstream.abandon()
        elif self._may_be_repeated(HTTPStatus.BAD_GATEWAY):
            upstream.abandon()
            self._failed_before_answering(Fault.FAILED, LOST)

    def timed_out(self, timeout_s: float) -> None:
        """Give up on the replica, as it sent nothing for `timeout_s` seconds."""
        upstream = self.upstream
        if upstream is None or self._ticket.attempt is None or self._ended:
            return
        reason = f"sent nothing for {timeout_s:g} s"
        between_chunks = upstream.between_chunks
        upstream.abandon()
        if self.answer.head is not None:
            self._failed_within_answer(Outcome.REPLICA_TIMEOUT, reason, whole=between_chunks)
            return
        self._blame(reason)
        self._refuse(Reject(Outcome.REPLICA_TIMEOUT, 1.0, f"the replica {reason}"))
