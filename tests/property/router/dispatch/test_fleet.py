"""The fleet keeps its promises through any sequence of views, requests, failures and time."""

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from router.dispatch.fleet import SUSPECT_MAX_S, Fleet
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.replicas.snapshot import ReplicaSnapshot
from router.request import RoutingRequest
from router.scheduling.registry import POLICIES, policy_named

MODELS = ("a", "b")
replica_ids = st.integers(0, 7)
models = st.sampled_from(MODELS)


def _request(model: str) -> RoutingRequest:
    return RoutingRequest("id", model, "/v1/chat/completions", stream=True, body=b"{}")


class FleetMachine(RuleBasedStateMachine):
    """Drives a fleet beside the plainest possible account of what is reserved."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet(Random(0))
        self.fleet.set_models({name: policy_named(policy) for name, policy in zip(MODELS, POLICIES, strict=False)})
        self.now_s = 0.0
        self.alive: dict[str, set[str]] = {model: set() for model in MODELS}
        self.running: list[ReplicaSnapshot] = []

    @rule(ids=st.sets(st.tuples(models, replica_ids)))
    def view(self, ids: set[tuple[str, int]]) -> None:
        """The directory speaks: exactly these exist."""
        endpoints = [Endpoint(f"{model}{number}", model, "127.0.0.1", 1) for model, number in ids]
        known = {key for keys in self.alive.values() for key in keys}
        new, gone = self.fleet.apply_view(endpoints)
        assert {endpoint.replica_id for endpoint in new} == {f"{m}{n}" for m, n in ids} - known
        assert {endpoint.replica_id for endpoint in gone} == known - {f"{m}{n}" for m, n in ids}
        self.alive = {model: {f"{m}{n}" for m, n in ids if m == model} for model in MODELS}

    @rule(model=models, tried=st.sets(replica_ids))
    def route(self, model: str, tried: set[int]) -> None:
        """A request goes to a replica of its model that it has not tried, if and only if there is one."""
        names = {f"{model}{number}" for number in tried}
        decision = self.fleet.route(_request(model), names)
        assert (decision is None) == (not self.alive[model] - names)
        if decision is not None:
            assert decision.replica.replica_id in self.alive[model] - names
            assert decision.replica in decision.candidates
            self.running.append(decision.replica)

    @rule(position=st.integers(0, 1000), fails=st.booleans())
    def end(self, position: int, fails: bool) -> None:  # noqa: FBT001 - drawn
        """A request ends, well or badly."""
        if self.running:
            replica = self.running.pop(position % len(self.running))
            self.fleet.release(replica)
            if fails:
                self.fleet.failed(replica, self.now_s)
            else:
                self.fleet.succeeded(replica)

    @rule(number=replica_ids, model=models, running=st.integers(0, 50))
    def report(self, number: int, model: str, running: int) -> None:
        """Telemetry comes, also of replicas nobody knows."""
        self.fleet.apply_report(f"{model}{number}", LoadReport(1, running, 0, 0, 0.0, 0, 0.0, 0.0))

    @rule(number=replica_ids, model=models)
    def silence(self, number: int, model: str) -> None:
        """Telemetry goes silent: nothing is sent there while another replica of the model may be picked."""
        name = f"{model}{number}"
        self.fleet.apply_report(name, None)
        others = [each for each in self.fleet.models[model].replicas.values() if each.usable]
        decision = self.fleet.route(_request(model))
        if decision is not None:
            assert decision.replica.replica_id != name or not others
            self.running.append(decision.replica)

    @rule(delta_s=st.floats(0, 2 * SUSPECT_MAX_S))
    def time(self, delta_s: float) -> None:
        """Time passes."""
        self.now_s += delta_s
        self.fleet.tick(self.now_s)
        if delta_s > SUSPECT_MAX_S:
            assert all(replica.accepting for replica in self.fleet.by_id.values())

    @invariant()
    def holds(self) -> None:
        """Reservations are exactly the running requests, and the fleet's own account is sound."""
        self.fleet.check_integrity()
        for replica in self.fleet.by_id.values():
            assert replica.in_flight == sum(1 for other in self.running if other is replica)


FleetMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestFleet = FleetMachine.TestCase
