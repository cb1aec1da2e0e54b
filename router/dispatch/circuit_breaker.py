"""The circuit breaker: leaves failing replicas of a model out, and lets each back in by one request at a time."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from router.dispatch.health import Standing
from router.dispatch.replica import Replica

if TYPE_CHECKING:
    from router.dispatch.attempt import Attempt


class CircuitBreaker:
    """Keeps the standing of a model's replicas, and sets which of them accept requests.

    A replica whose connection breaks is left out at once: nothing is known of what it still can do. One that answers
    with errors is left out after `ERRORS_IN_A_ROW` different requests, and only while at least half of the replicas
    stay in use: a defect that all of them share, or a client whose requests all fail, must not stop the model.

    All methods return whether a replica began or ceased to accept requests. They do nothing for replicas that are gone.

    Args:
        replicas: the model's replicas, by id; the fleet changes it.
    """

    def __init__(self, replicas: Mapping[str, Replica]) -> None:
        self._replicas = replicas
        self._shut: list[Replica] = []

    def broke_off(self, replica: Replica, now_s: float) -> bool:
        """Leave a replica out that broke a connection or took none; while it is out, further ones change nothing."""
        if not self._knows(replica) or replica.health.standing is Standing.OUT:
            return False
        replica.health.leave_out(now_s, by_errors=False)
        return self._shows(replica)

    def erred(self, replica: Replica, key: int, now_s: float) -> bool:
        """Count an error that a replica answered; leave it out if it is failing, or on probation.

        Args:
            replica: the replica.
            key: identifies the request; the same request counts once.
            now_s: the time, monotonic seconds.
        """
        health = replica.health
        if not self._knows(replica) or health.standing is Standing.OUT:
            return False
        health.count_error(key)
        if health.standing is Standing.PROBATION or health.is_failing:
            if self._may_be_without(replica, now_s):
                health.leave_out(now_s, by_errors=True)
            elif health.standing is Standing.PROBATION:
                health.begin_probation()
        return self._shows(replica)

    def answered(self, replica: Replica) -> bool:
        """Give a replica requests again, as it has begun to answer one well."""
        if replica.health.standing is Standing.UP or not self._knows(replica):
            return False
        replica.health.reinstate()
        return self._shows(replica)

    def is_back(self, replica: Replica) -> bool:
        """Forget what a replica did before it was away."""
        replica.health.forget()
        return self.answered(replica)

    def begin_probe(self, attempt: "Attempt", now_s: float) -> bool:
        """Let an attempt decide a replica's probation. Until then it gets no other, if enough replicas are in use."""
        replica = attempt.replica
        if replica.health.takes and self._knows(replica) and self._may_be_without(replica, now_s):
            replica.health.begin_probe(attempt, now_s)
            return self._shows(replica)
        return False

    def end_probe(self, replica: Replica) -> bool:
        """Let a replica have another probe, as the last one has shown nothing: its client left, say."""
        if replica.health.standing is not Standing.PROBATION or not self._knows(replica):
            return False
        replica.health.begin_probation()
        return self._shows(replica)

    def tick(self, now_s: float) -> bool:
        """Begin the probation of replicas whose pause is over, and wait no longer for what takes over `PROBE_S`."""
        over = [replica for replica in self._shut if replica.health.until_s <= now_s]
        for replica in over:
            health = replica.health
            if health.probe is not None and not health.by_errors:
                health.reinstate()
            else:
                health.begin_probation()
            self._shows(replica)
        return bool(over)

    def fleet_changed(self) -> bool:
        """Keep at least half in use after replicas left: let those in whose pauses end first."""
        self._shut = [replica for replica in self._shut if self._knows(replica)]
        left_out = sorted(self._left_out_by_errors(), key=lambda replica: replica.health.until_s)
        too_many = left_out[: len(left_out) - self._staying() // 2]
        for replica in too_many:
            replica.health.begin_probation()
            self._shows(replica)
        return bool(too_many)

    def _knows(self, replica: Replica) -> bool:
        """Tell whether it is one of the model's; another replica under the id of one that is gone did nothing."""
        return self._replicas.get(replica.replica_id) is replica

    def _shows(self, replica: Replica) -> bool:
        accepting = replica.health.takes
        if replica.accepting == accepting:
            return False
        replica.accepting = accepting
        if accepting:
            self._shut.remove(replica)
        else:
            self._shut.append(replica)
        return True

    def _may_be_without(self, replica: Replica, now_s: float) -> bool:
        in_use = sum(
            other.usable and other.stays and other.slots.busy_until_s <= now_s
            for other in self._replicas.values()
            if other is not replica
        )
        return 2 * in_use >= self._staying()

    def _staying(self) -> int:
        return sum(replica.stays for replica in self._replicas.values())

    def _left_out_by_errors(self) -> list[Replica]:
        return [replica for replica in self._shut if replica.health.by_errors and replica.stays]

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        shut = {id(replica) for replica in self._replicas.values() if not replica.accepting}
        if {id(replica) for replica in self._shut} != shut or len(self._shut) != len(shut):
            raise AssertionError("a replica that is left out would never be let back in")
        for replica in self._replicas.values():
            if replica.accepting != replica.health.takes:
                raise AssertionError(f"{replica.replica_id} accepts requests though it is {replica.health.standing}")
        if 2 * len(self._left_out_by_errors()) > self._staying():
            raise AssertionError("more than half of the replicas are left out because of errors they answered")
