"""The fleet: one model's replicas as one gateway knows them, and which of them may be picked now."""

from collections.abc import Container, Iterable, Mapping, Sequence

from router.dispatch.circuit_breaker import CircuitBreaker
from router.dispatch.engine import Engines
from router.dispatch.replica import Replica
from router.replicas.endpoint import Endpoint, Presence
from router.replicas.load_report import LoadReport
from router.replicas.snapshot import ReplicaSnapshot
from router.scheduling.profile import Profile


class Fleet:
    """One model's replicas and its policy. Reads no clock: the caller passes `now_s`.

    A replica is usable while it accepts requests and its telemetry is not silent.

    Args:
        policy: picks the replica for each request.
        engines: the engines that models of the process share; None: replicas share none.

    Attributes:
        policy: picks the replica for each request.
        replicas: all replicas that the directory lists, by id.
        breaker: leaves replicas out that fail; call `refresh` after it has changed one.
        candidates: replicas that may be picked now, in id order. They are the usable ones that provide the telemetry
            the policy needs; if there are none, all usable ones; if there are none either, all that are not leaving.
            Those that only compute prompts are not among them.
        prefillers: usable replicas that keep computed prompts for others, in id order; some may answer requests, too.
    """

    def __init__(self, policy: Profile, engines: Engines | None = None) -> None:
        self.policy = policy
        self._engines = engines if engines is not None else Engines()
        self.replicas: dict[str, Replica] = {}
        self.breaker = CircuitBreaker(self.replicas)
        self.candidates: list[Replica] = []
        self.prefillers: list[Replica] = []

    def staying(self, only: str = "") -> list[Replica]:
        """Return the replicas that answer requests, are not leaving and can be reached, in id order.

        With `only`, the one of that id.
        """
        if only:
            return [replica for replica in (self.replicas.get(only),) if replica is not None and replica.stays]
        return [replica for _, replica in sorted(self.replicas.items()) if replica.stays and replica.answers]

    def set_policy(self, policy: Profile) -> None:
        """Pick by another policy from now on."""
        self.policy = policy
        self.refresh()

    def set_replicas(self, endpoints: Iterable[Endpoint]) -> tuple[list[Replica], list[Replica]]:
        """Set which replicas exist, as the directory lists them.

        A replica whose process has started anew is gone, and a new one is there under its id.

        Returns:
            The new replicas, and those that are gone. Requests on a replica that is gone continue, but no new ones are
            sent there.
        """
        wanted = {endpoint.replica_id: endpoint for endpoint in endpoints}
        gone = [replica for replica in self.replicas.values() if not _is_still(replica, wanted)]
        for replica in gone:
            del self.replicas[replica.replica_id]
            replica.silent = True  # nobody listens to it any more, though requests may still run there
        new = [
            Replica(endpoint, self._engines.of(endpoint))
            for replica_id, endpoint in wanted.items()
            if replica_id not in self.replicas
        ]
        for replica in new:
            self.replicas[replica.replica_id] = replica
        if new or gone:
            self.breaker.fleet_changed()
            self.refresh()
        return new, gone

    def take_changes(self, endpoints: Iterable[Endpoint]) -> list[tuple[Replica, Endpoint]]:
        """Take over what has changed in the endpoints of known replicas: another key, or a server that went or came.

        Returns:
            Each such replica, with its endpoint up to now.
        """
        changed: list[tuple[Replica, Endpoint]] = []
        for endpoint in endpoints:
            replica = self.replicas.get(endpoint.replica_id)
            if replica is not None and replica.endpoint != endpoint and _is_same_process(replica.endpoint, endpoint):
                changed.append((replica, replica.endpoint))
                self._take_change(replica, endpoint)
        if changed:
            self.breaker.fleet_changed()
            self.refresh()
        return changed

    def _take_change(self, replica: Replica, endpoint: Endpoint) -> None:
        before, replica.endpoint = replica.endpoint.presence, endpoint
        if endpoint.presence is before:
            return
        replica.silent = endpoint.presence is Presence.SILENT
        if before is Presence.AWAY:  # it is back: what it said and failed before it went counts no more
            replica.leaving = False
            self.breaker.is_back(replica)

    def report(self, replica: Replica, report: LoadReport | None) -> bool:
        """Keep a replica's load report; None: its telemetry went silent.

        A silent replica is picked only where no usable one is left.

        Returns:
            Whether `candidates` may have changed.
        """
        replica.report = report
        if replica.silent == (report is None):
            return False
        replica.silent = report is None
        self.refresh()
        return True

    def may_take(self, tried: Container[Replica], only: str = "") -> Sequence[Replica]:
        """Return the candidates for a request that the replicas in `tried` failed, in id order.

        It goes to one that has answered no error since its last whole answer, if there is one: the request should not
        fail twice. If it has tried all candidates, these are the other replicas that are not leaving: silent ones, and
        ones that are left out.

        Args:
            tried: the replicas that failed it.
            only: id of the one replica that can serve it, paused or not; "": any can.
        """
        if only:
            return [replica for replica in self.staying(only) if replica not in tried]
        candidates: Sequence[Replica] = self.candidates
        if tried:
            candidates = [replica for replica in candidates if replica not in tried]
            if not candidates:
                candidates = [replica for replica in self.staying() if replica not in tried]
            candidates = [replica for replica in candidates if not replica.health.errors] or candidates
        return candidates

    def leaving(self, replica: Replica) -> None:
        """Note that a replica takes no more requests, by its own word."""
        replica.leaving = True
        if self.replicas.get(replica.replica_id) is replica:
            self.breaker.fleet_changed()
            self.refresh()

    def refresh(self) -> None:
        """Work the candidates out anew, as a replica began or ceased to accept requests."""
        self.candidates = self._worked_out()
        self.prefillers = [
            replica
            for _, replica in sorted(self.replicas.items())
            if replica.stays and replica.usable and replica.keeps_prompts
        ]

    def _worked_out(self) -> list[Replica]:
        staying = self.staying()
        usable = [replica for replica in staying if replica.usable]
        return [replica for replica in usable if self._tells_enough(replica)] or usable or staying

    def _tells_enough(self, replica: ReplicaSnapshot) -> bool:
        return self.policy.needs <= replica.endpoint.signals

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        self.breaker.check_integrity()
        if self.candidates != self._worked_out():
            raise AssertionError("the candidates are not the usable replicas in id order")
        for key, replica in self.replicas.items():
            if key != replica.replica_id:
                raise AssertionError(f"{replica.replica_id} is known as {key}")
            if replica.in_flight < 0:
                raise AssertionError(f"{key} has been released more often than reserved")


def _is_still(replica: Replica, wanted: Mapping[str, Endpoint]) -> bool:
    """Tell whether a replica is listed and its process is the one it was."""
    endpoint = wanted.get(replica.replica_id)
    return endpoint is not None and _is_same_process(replica.endpoint, endpoint)


def _is_same_process(before: Endpoint, now: Endpoint) -> bool:
    """Tell whether a replica's process is the one it was, as far as its role and its time of start say."""
    is_same_start = before.started_s == now.started_s or not before.started_s or not now.started_s
    return is_same_start and before.role is now.role
