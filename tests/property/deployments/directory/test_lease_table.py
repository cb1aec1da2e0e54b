"""The lease table and what gateways make of its views, under any order of events."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from deployments.directory.lease_table import LeaseTable
from deployments.directory.membership import GatewayEndpoint, LastKnownReplicas, Member, member_id
from router.replicas.endpoint import Endpoint

LEASE_S = 5.0
IDS = st.sampled_from([f"r{n}" for n in range(5)] + [f"g{n}" for n in range(2)])


def member(key: str) -> Endpoint | GatewayEndpoint:
    """Return the member `key` names."""
    if key.startswith("g"):
        return GatewayEndpoint(key, "127.0.0.1", 8000, 8002)
    return Endpoint(key, model="m", host="127.0.0.1", http_port=1000 + int(key[1:]))


class Directory(RuleBasedStateMachine):
    """A directory that members announce themselves to, that restarts, and one gateway that follows it.

    The model is the simplest thing that can be right: when each member last announced itself and which withdrew.
    """

    @initialize()
    def begin(self) -> None:
        """Start with an empty directory and a gateway that has heard of nobody."""
        self.now_s = 100.0
        self.epoch = 0
        self.announced_s: dict[str, float] = {}
        self.gone_for_good: dict[str, float] = {}
        self.gateway = LastKnownReplicas()
        self._restart()

    def _restart(self) -> None:
        self.epoch += 1
        self.started_s = self.now_s
        self.table = LeaseTable(f"e{self.epoch}", self.now_s, LEASE_S)
        self.announced_s.clear()
        self.gone_for_good.clear()
        self.before = {endpoint.replica_id for endpoint in self.gateway.replicas}

    @rule(key=IDS)
    def announce(self, key: str) -> None:
        """A member announces itself or renews its lease."""
        accepted = self.table.announce(member(key), self.now_s)
        assert accepted == (key not in self.gone_for_good)
        if accepted:
            self.announced_s[key] = self.now_s

    @rule(key=IDS)
    def withdraw(self, key: str) -> None:
        """A member leaves, announced or not."""
        self.table.withdraw(key, self.now_s)
        self.announced_s.pop(key, None)
        self.gone_for_good[key] = self.now_s

    @rule(delta_s=st.floats(0.0, 4.0))
    def time_passes(self, delta_s: float) -> None:
        """Time goes on, and the directory looks at its leases."""
        self.now_s += delta_s
        self.table.advance(self.now_s)
        self.announced_s = {key: at_s for key, at_s in self.announced_s.items() if at_s + LEASE_S > self.now_s}
        self.gone_for_good = {key: at_s for key, at_s in self.gone_for_good.items() if at_s + 2 * LEASE_S > self.now_s}

    @rule()
    def directory_restarts(self) -> None:
        """The directory loses everything; the gateway keeps what it had."""
        self._restart()

    @rule()
    def gateway_looks(self) -> None:
        """The gateway takes the view and goes by the right replicas."""
        view = self.table.view()
        known = {endpoint.replica_id for endpoint in self.gateway.apply(view)}
        alive = {key for key in self.announced_s if key.startswith("r")}
        if view.settled:
            assert known == alive
            self.before = set()
        else:
            self.before -= alive | self.gone_for_good.keys()
            assert known == alive | self.before

    @invariant()
    def the_table_holds_exactly_the_living(self) -> None:
        """Whoever announced itself within a lease is in the view, and nobody else."""
        self.table.check_integrity()
        view = self.table.view()
        rows: list[Member] = [*view.replicas, *view.gateways]
        listed = [member_id(row) for row in rows]
        assert sorted(listed) == sorted(self.announced_s)
        assert view.settled == (self.now_s >= self.started_s + LEASE_S)
        assert (self.table.empty_for_s(self.now_s) == 0.0) or not self.announced_s

    @invariant()
    def every_change_is_a_new_version(self) -> None:
        """Two different views of one epoch never share a version (tombstones that lapse aside): watchers rely on it."""
        view = self.table.view()
        content = (view.replicas, view.gateways, view.settled)
        seen = self.__dict__.setdefault("seen", {})
        assert seen.setdefault((view.epoch, view.version), content) == content


TestDirectory = Directory.TestCase
TestDirectory.settings = settings(max_examples=60, stateful_step_count=40)


def test_views_that_arrive_out_of_order_are_ignored() -> None:
    """A slow answer of an earlier poll cannot bring a withdrawn replica back."""
    table = LeaseTable("e1", 0.0, LEASE_S)
    table.announce(member("r1"), 0.0)
    old = table.view()
    table.withdraw("r1", 0.1)
    gateway = LastKnownReplicas()
    assert gateway.apply(table.view()) == ()
    assert gateway.apply(old) == ()


def test_a_replica_that_comes_back_at_another_port_is_a_change() -> None:
    """An announcement with new content replaces the old row and wakes the watchers."""
    table = LeaseTable("e1", 0.0, LEASE_S)
    table.announce(member("r1"), 0.0)
    before = table.view()
    table.announce(Endpoint("r1", model="m", host="127.0.0.1", http_port=9999), 1.0)
    assert table.view().version > before.version
    assert table.view().replicas[0].http_port == 9999
