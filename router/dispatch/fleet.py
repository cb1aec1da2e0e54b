"""The replicas of every model as one gateway knows them, and the one place where a request is given to one of them."""

from collections.abc import Callable, Container, Iterable, Sequence
from random import Random

from router.replicas.snapshot import Endpoint, LoadReport, ReplicaSnapshot
from router.request import RoutingRequest
from router.scheduling.interface import Decision
from router.scheduling.profile import Profile

SUSPECT_S = 0.5
"""A replica that failed a request is left out this long; doubled with each failure in a row, up to `SUSPECT_MAX_S`."""
SUSPECT_MAX_S = 8.0

Narrow = Callable[[Sequence[ReplicaSnapshot], float], Sequence[ReplicaSnapshot]]
"""Returns those of some replicas that have room at a time."""


class ModelFleet:
    """One model's replicas and its policy.

    Attributes:
        policy: how a replica is picked.
        replicas: by id, all that the directory knows.
        candidates: those that may be picked now, in id order: that accept requests, are not silent and provide the
            telemetry the policy needs; where there is none, those that accept and are not silent; where there is none
            of these either, all that are not leaving.
    """

    def __init__(self, name: str, policy: Profile) -> None:
        self.name = name
        self.policy = policy
        self.replicas: dict[str, ReplicaSnapshot] = {}
        self.candidates: list[ReplicaSnapshot] = []

    def refresh(self) -> None:
        """Work out `candidates` anew, after a replica came, left or changed whether it accepts."""
        staying = self.staying()
        needs = self.policy.needs
        usable = [replica for replica in staying if replica.usable]
        self.candidates = [replica for replica in usable if needs <= replica.endpoint.signals] or usable or staying

    def staying(self) -> list[ReplicaSnapshot]:
        """Return the replicas that are not leaving, in id order."""
        return [replica for _, replica in sorted(self.replicas.items()) if not replica.leaving]


class Fleet:
    """All models' replicas.

    Told of the world by `apply_view` (the directory), `apply_report` (telemetry) and `failed` / `succeeded` (requests);
    asked by `route`. Reads no clock: the caller passes `now_s`.

    Attributes:
        models: by name.
        by_id: all models' replicas.
        on_change: called with a model's name when its replicas, or those that may be picked, have changed.
    """

    def __init__(self, rng: Random) -> None:
        self.on_change: Callable[[str], None] = _nobody
        self._rng = rng
        self.models: dict[str, ModelFleet] = {}
        self.by_id: dict[str, ReplicaSnapshot] = {}
        self._suspect_until_s: dict[str, float] = {}

    def set_models(self, policies: dict[str, Profile]) -> None:
        """Serve exactly these models; replicas of models that stay are kept, as is a policy of the same name."""
        for gone in self.models.keys() - policies.keys():
            for replica_id in self.models.pop(gone).replicas:
                self._forget(replica_id)
        for name, policy in policies.items():
            known = self.models.get(name)
            if known is None:
                self.models[name] = ModelFleet(name, policy)
            elif known.policy.name != policy.name:
                known.policy = policy
                self._refresh(name)

    def apply_view(self, endpoints: Iterable[Endpoint]) -> tuple[list[Endpoint], list[Endpoint]]:
        """Take the directory's word: these replicas exist, no others.

        Returns:
            The endpoints that are new and those that are gone. Requests on a replica that is gone go on; no new ones
            are sent there. Endpoints of unknown models are ignored.
        """
        wanted = {endpoint.replica_id: endpoint for endpoint in endpoints if endpoint.model in self.models}
        gone = [replica.endpoint for replica_id, replica in self.by_id.items() if replica_id not in wanted]
        new = [endpoint for replica_id, endpoint in wanted.items() if replica_id not in self.by_id]
        for endpoint in gone:
            self.models[endpoint.model].replicas.pop(endpoint.replica_id)
            self._forget(endpoint.replica_id)
        for endpoint in new:
            replica = ReplicaSnapshot(endpoint)
            self.by_id[endpoint.replica_id] = replica
            self.models[endpoint.model].replicas[endpoint.replica_id] = replica
        for name in {endpoint.model for endpoint in (*gone, *new)}:
            self._refresh(name)
        return new, gone

    def apply_report(self, replica_id: str, report: LoadReport | None) -> None:
        """Take a replica's load report; None: its telemetry went silent, so others are picked while there are any."""
        replica = self.by_id.get(replica_id)
        if replica is None:
            return
        replica.report = report
        if replica.silent != (report is None):
            replica.silent = report is None
            self._refresh(replica.endpoint.model)

    def route(
        self, request: RoutingRequest, tried: Container[str] = (), narrow: Narrow | None = None
    ) -> Decision | None:
        """Pick a replica and reserve it; the caller must `release` it when the request ends there.

        Args:
            request: the request.
            tried: ids of replicas that already failed this request.
            narrow: leaves of the candidates those that have room; where it leaves none, room does not matter.

        Returns:
            None where no replica may take it. A replica that failed others lately is used only where no other is left.
        """
        fleet = self.models.get(request.model)
        if fleet is None:
            return None  # the model was taken out of the cluster while this request ran
        candidates: Sequence[ReplicaSnapshot] = fleet.candidates
        if tried:
            candidates = [replica for replica in candidates if replica.replica_id not in tried]
            if not candidates:
                candidates = [replica for replica in fleet.staying() if replica.replica_id not in tried]
        if not candidates:
            return None
        if narrow is not None:
            candidates = narrow(candidates, request.now_s) or candidates
        decision = fleet.policy.decide(request, candidates, self._rng)
        if decision is not None:
            decision.replica.in_flight += 1
            decision.replica.sent += 1
        return decision

    @staticmethod
    def release(replica: ReplicaSnapshot) -> None:
        """Give back what `route` reserved."""
        replica.in_flight -= 1

    def failed(self, replica: ReplicaSnapshot, now_s: float) -> None:
        """Leave a replica that failed a request out for a while, longer with each failure in a row."""
        replica.failures += 1
        if self.by_id.get(replica.replica_id) is not replica:
            return  # gone since; one that came back under its id starts with a clean sheet
        pause_s = min(SUSPECT_MAX_S, SUSPECT_S * 2.0 ** (replica.failures - 1))
        self._suspect_until_s[replica.replica_id] = now_s + pause_s
        self._set_accepting(replica, accepting=False)

    def succeeded(self, replica: ReplicaSnapshot) -> None:
        """A replica answered: its failures are forgiven."""
        if replica.failures and self.by_id.get(replica.replica_id) is replica:
            replica.failures = 0
            self._suspect_until_s.pop(replica.replica_id, None)
            self._set_accepting(replica, accepting=True)

    def leaving(self, replica: ReplicaSnapshot) -> None:
        """A replica has said that it takes no more requests."""
        replica.leaving = True
        if self.by_id.get(replica.replica_id) is replica:
            self._refresh(replica.endpoint.model)

    def tick(self, now_s: float) -> None:
        """Let replicas back in whose pause is over; call a few times a second."""
        if not self._suspect_until_s:
            return
        for replica_id in [key for key, until_s in self._suspect_until_s.items() if until_s <= now_s]:
            del self._suspect_until_s[replica_id]
            self._set_accepting(self.by_id[replica_id], accepting=True)

    def _set_accepting(self, replica: ReplicaSnapshot, *, accepting: bool) -> None:
        if replica.accepting != accepting:
            replica.accepting = accepting
            self._refresh(replica.endpoint.model)

    def _refresh(self, model: str) -> None:
        self.models[model].refresh()
        self.on_change(model)

    def _forget(self, replica_id: str) -> None:
        self.by_id.pop(replica_id, None)
        self._suspect_until_s.pop(replica_id, None)

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        listed = {key: replica for fleet in self.models.values() for key, replica in fleet.replicas.items()}
        if listed != self.by_id:
            raise AssertionError("the replicas by id and those by model differ")
        for name, fleet in self.models.items():
            staying = [replica for _, replica in sorted(fleet.replicas.items()) if not replica.leaving]
            usable = [replica for replica in staying if replica.usable]
            telling = [replica for replica in usable if fleet.policy.needs <= replica.endpoint.signals]
            if fleet.candidates != (telling or usable or staying):
                raise AssertionError(f"{name}: the candidates are not the usable replicas in id order")
        if any(replica.in_flight < 0 for replica in self.by_id.values()):
            raise AssertionError("a replica has been released more often than reserved")
        if any(self.by_id[key].accepting for key in self._suspect_until_s):
            raise AssertionError("a suspect replica is accepting")
        for key, replica in self.by_id.items():
            if not replica.accepting and key not in self._suspect_until_s:
                raise AssertionError(f"{key} would never be let back in")


def _nobody(_model: str) -> None:
    pass
