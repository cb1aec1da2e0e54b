"""The fleet offers the right candidates after any sequence of directory views, failures, reports and time."""

from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.dispatch.fleet import Fleet
from router.dispatch.health import PAUSE_MAX_S, PROBE_S
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.scheduling.registry import policy_named

if TYPE_CHECKING:
    from router.dispatch.replica import Replica

numbers = st.integers(0, 7)
REPORT = LoadReport(1, 3, 0, 0, 0.0, 0, 0.0, 0.0)


class FleetMachine(RuleBasedStateMachine):
    """Drives a fleet, and keeps a plain account of which replicas exist."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet(policy_named("least_load"))
        self.now_s = 0.0
        self.alive: set[str] = set()
        self.ever: list[Replica] = []

    @rule(ids=st.sets(numbers))
    def view(self, ids: set[int]) -> None:
        """Set which replicas exist; a replica that stays keeps its record."""
        names = {f"r{number}" for number in ids}
        before = dict(self.fleet.replicas)
        new, gone = self.fleet.set_replicas([Endpoint(name, "m", "127.0.0.1", 1) for name in names])
        assert {replica.replica_id for replica in new} == names - self.alive
        assert {replica.replica_id for replica in gone} == self.alive - names
        assert all(self.fleet.replicas[name] is before[name] for name in names & self.alive)
        self.alive = names
        self.ever += new

    @rule(tried=st.sets(numbers))
    def may_take(self, tried: set[int]) -> None:
        """Check that a request has candidates exactly if a replica that is not leaving has not been tried."""
        names = {f"r{number}" for number in tried}
        tries = {replica for replica_id, replica in self.fleet.replicas.items() if replica_id in names}
        found = {replica.replica_id for replica in self.fleet.may_take(tries)}
        staying = {replica.replica_id for replica in self.fleet.staying()}
        assert found <= staying - names
        assert bool(found) == bool(staying - names)

    @precondition(lambda self: self.ever)
    @rule(data=st.data(), fate=st.sampled_from(("breaks off", "errs", "answers", "ends", "leaves")))
    def happens(self, data: st.DataObject, fate: str) -> None:
        """End a request on a replica, which may be gone: it fails, succeeds, or says that the replica leaves."""
        replica = data.draw(st.sampled_from(self.ever))
        is_known = self.fleet.replicas.get(replica.replica_id) is replica
        breaker, before = self.fleet.breaker, replica.accepting
        changed = False
        if fate == "breaks off":
            changed = breaker.broke_off(replica, self.now_s)
        elif fate == "errs":
            changed = breaker.erred(replica, data.draw(st.integers(0, 5)), self.now_s)
        elif fate == "answers":
            changed = breaker.answered(replica)
        elif fate == "ends":
            changed = breaker.end_probe(replica)
        else:
            self.fleet.leaving(replica)
        assert fate == "leaves" or changed == (replica.accepting != before)
        assert is_known or not changed, "a replica of a former life counts"
        if changed:
            self.fleet.refresh()

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), is_heard=st.booleans())
    def report(self, data: st.DataObject, is_heard: bool) -> None:  # noqa: FBT001 - drawn
        """Report a replica's load, or its silence; a silent replica is no candidate while another is usable."""
        replica = self.fleet.replicas[data.draw(st.sampled_from(sorted(self.alive)))]
        self.fleet.report(replica, REPORT if is_heard else None)
        others = [other for other in self.fleet.staying() if other.usable]
        assert is_heard or replica not in self.fleet.candidates or not others

    @rule(passed_s=st.floats(0.0, 2 * PAUSE_MAX_S))
    def time(self, passed_s: float) -> None:
        """Let time pass: after the longest pause every replica accepts requests again."""
        self.now_s += passed_s
        if self.fleet.breaker.tick(self.now_s):
            self.fleet.refresh()
        if passed_s > max(PAUSE_MAX_S, PROBE_S):
            assert all(replica.accepting for replica in self.fleet.replicas.values())

    @invariant()
    def holds(self) -> None:
        """Check that the fleet is consistent."""
        self.fleet.check_integrity()
        assert set(self.fleet.replicas) == self.alive


FleetMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestFleet = FleetMachine.TestCase
