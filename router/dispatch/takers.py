"""The replicas that take requests: flow control and the estimator in step with the fleet."""

from collections.abc import Sequence

from router.dispatch.fleet import Fleet
from router.dispatch.replica import Replica
from router.dispatch.ticket import Ticket
from router.estimator.model_estimator import ModelEstimator
from router.flow_control.admission import Admission
from router.replicas.endpoint import Endpoint


class _Sharer:
    """One model's record of a server, for what its other models learn of that server.

    Args:
        takers: the model's replicas.
        replica: the record.
    """

    def __init__(self, takers: "Takers", replica: Replica) -> None:
        self._takers = takers
        self._replica = replica

    def is_busy(self, until_s: float, now_s: float) -> None:
        """Give it no more requests until a time."""
        self._takers.slots.back_off(self._replica, until_s, now_s)

    def broke_off(self, now_s: float) -> None:
        """Leave it out for a while."""
        if self._takers.fleet.breaker.broke_off(self._replica, now_s):
            self._takers.accepting_changed(now_s)

    def is_reached(self, now_s: float) -> None:
        """Let it have requests again, if it was left out because its connection broke."""
        if not self._replica.health.by_errors and self._takers.fleet.breaker.answered(self._replica):
            self._takers.accepting_changed(now_s)

    def leaves(self, now_s: float) -> None:
        """Give it no more requests."""
        self._takers.leaving(self._replica, now_s)


class Takers:
    """Tells flow control and the estimator which replicas exist, and flow control which of them take requests.

    Args:
        fleet: the model's replicas.
        admission: the model's flow control.
        estimator: what is expected of each replica.

    Attributes:
        fleet: the model's replicas.
        slots: their room.
    """

    def __init__(self, fleet: Fleet, admission: Admission[Ticket, Replica], estimator: ModelEstimator) -> None:
        self.fleet = fleet
        self.slots = admission.slots
        self._admission = admission
        self._estimator = estimator

    def set_replicas(self, endpoints: Sequence[Endpoint], now_s: float) -> tuple[list[Endpoint], list[Endpoint]]:
        """Set which replicas exist; see `Dispatcher.set_replicas`."""
        before = self.fleet.candidates
        changed = self.fleet.take_changes(endpoints)
        for replica, _ in changed:
            self.slots.set_most(replica, replica.endpoint.max_requests, now_s)
        new, gone = self.fleet.set_replicas(endpoints)
        for replica in gone:
            replica.shared.leave(replica)
            self._admission.leave(replica, now_s)
            self._estimator.leave(replica)
        for replica in new:
            self._estimator.join(replica)
            self._admission.join(replica, now_s)
            replica.shared.join(replica, _Sharer(self, replica))
        if before is not self.fleet.candidates:
            self.update(now_s)
        old = [endpoint for replica, endpoint in changed if endpoint.way != replica.endpoint.way]
        return [replica.endpoint for replica in new], [replica.endpoint for replica in gone] + old

    def accepting_changed(self, now_s: float) -> None:
        """Take in that a replica began or ceased to accept requests."""
        self.fleet.refresh()
        self.update(now_s)

    def leaving(self, replica: Replica, now_s: float) -> None:
        """Take in that a replica takes no more requests, by its own word."""
        if not replica.leaving:
            self.fleet.leaving(replica)
            self.update(now_s)

    def update(self, now_s: float) -> None:
        """Have flow control give requests to the fleet's candidates alone, after these have changed."""
        takers = set(self.fleet.candidates)
        for replica in self.fleet.replicas.values():
            self._admission.drain(replica, now_s, draining=replica not in takers)

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        known = {id(replica) for replica in self.fleet.replicas.values()}
        if {id(replica) for replica in self.slots.replicas} != known:
            raise AssertionError("the fleet and flow control know different replicas")
        if {id(replica) for replica in self._estimator.replicas} != known:
            raise AssertionError("the fleet and the estimator know different replicas")
        takers = {id(replica) for replica in self.fleet.candidates}
        if any((id(replica) in takers) == replica.slots.draining for replica in self.slots.replicas):
            raise AssertionError("the replicas that take requests are not the candidates")
