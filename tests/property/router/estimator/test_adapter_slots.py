"""Adapters on replicas, whatever is sent, ends and is reported in whatever order."""

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import data, integers, lists, sampled_from

from router.estimator.adapter_slots import AdapterSlots, AdapterUse
from router.replicas.adapter_report import AdapterReport

NAMES = [f"a{number}" for number in range(6)]
REPLICAS = 3


class AdapterMachine(RuleBasedStateMachine):
    """Three replicas of two or three slots, and the requests of one gateway."""

    def __init__(self) -> None:
        super().__init__()
        self.use = AdapterUse()
        self.replicas = [AdapterSlots(self.use) for _ in range(REPLICAS)]
        self.running: list[tuple[int, str, float]] = []
        self.now_s = 0.0
        self.sent = 0

    @rule(replica=integers(0, REPLICAS - 1), name=sampled_from(NAMES))
    def send(self, replica: int, name: str) -> None:
        """Send a request; what it expects is what was weighed, and the next one finds the adapter there."""
        slots = self.replicas[replica]
        weighed_s, beside_s = slots.weigh(name, self.now_s)
        assert weighed_s >= 0.0
        assert beside_s >= 0.0
        assert slots.sent(name, self.now_s) == weighed_s
        assert slots.weigh(name, self.now_s) == (0.0, 0.0)
        self.running.append((replica, name, self.now_s))
        self.sent += 1

    @precondition(lambda self: self.running)
    @rule(draw=data())
    def end(self, draw: data) -> None:  # type: ignore[valid-type] # hypothesis's own
        """End any request."""
        at = draw.draw(integers(0, len(self.running) - 1))  # type: ignore[attr-defined]
        replica, name, sent_s = self.running.pop(at)
        self.replicas[replica].ended(name, sent_s, self.now_s)

    @rule(
        replica=integers(0, REPLICAS - 1),
        held=lists(sampled_from(NAMES), max_size=3, unique=True),
        known=lists(sampled_from(NAMES), unique=True),
        slots=integers(2, 3),
    )
    def report(self, replica: int, held: list[str], known: list[str], slots: int) -> None:
        """Take a report; what is in use stays, and all else is as it says."""
        self.replicas[replica].reported(AdapterReport(frozenset(known), tuple(held), slots, load_s=0.1))
        used = {name for where, name, _ in self.running if where == replica}
        assert set(self.replicas[replica].held) == set(held) | used

    @rule(seconds=integers(1, 100))
    def pass_time(self, seconds: int) -> None:
        """Let time pass."""
        self.now_s += seconds / 10

    @invariant()
    def holds(self) -> None:
        """Counts agree, over all replicas."""
        for slots in self.replicas:
            slots.check_integrity()
        held = [name for slots in self.replicas for name in slots.held]
        assert self.use.holders == {name: held.count(name) for name in held}
        assert sum(self.use.requests.values()) == self.sent


TestAdapters = AdapterMachine.TestCase
TestAdapters.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
