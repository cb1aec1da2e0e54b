"""Each pool of a model is scaled by its own part of the load: tried on fluid pools in virtual time."""

from dataclasses import dataclass, field

import pytest

from cluster.autoscaling.autoscaler import Autoscaler
from cluster.autoscaling.metrics.figures import GatewayFigures, ReplicaFigures
from cluster.autoscaling.model_autoscaler import ModelAutoscaler
from cluster.autoscaling.targets import AutoscalingTargets
from cluster.pool_scaling.model_pools import ModelPools
from cluster.pool_scaling.scaled_pool import ScaledPool
from cluster.spec.role import Role

STEP_S = 0.5
START_S = 5.0
REQUEST = 10.0
"""Work of one request, tokens."""


def pool(name: str, least: int, most: int, role: Role = Role.BOTH, work_per_s: float = 100.0) -> ScaledPool:
    """Return a pool that gives replicas back after 20 s, and goes to none after 20 s without work."""
    targets = AutoscalingTargets(
        least, most, scale_down_after_s=20.0, scale_to_zero_after_s=20.0, first_cold_start_s=START_S,
        first_work_per_s=work_per_s, longest_wait_s=10.0,
    )  # fmt: skip
    return ScaledPool(name, role, targets)


@dataclass
class FluidPool:
    """What a pool's replicas do: `ready_s` of each replica, and the requests that each took."""

    rate: float
    has_machines: bool = True
    ready_s: list[float] = field(default_factory=list)
    accepted: float = 0.0


class FluidModel:
    """A model whose requests flow to its pools in proportion to the work that they can do."""

    def __init__(self, pools: list[ScaledPool], rates: dict[str, float]) -> None:
        self.scaling = ModelPools(pools)
        self.fluid = {each.name: FluidPool(rates[each.name]) for each in pools}
        self.now_s = 0.0
        self.offered = self.dispatched = self.waiting = 0.0
        for each in pools:
            self.fluid[each.name].ready_s = [0.0] * each.targets.min_replicas

    def targets(self) -> dict[str, int | None]:
        """Return each pool's target."""
        return {name: self.scaling.target(name) for name in self.fluid}

    def ready(self, name: str) -> int:
        """Return a pool's ready replicas."""
        return sum(ready_s <= self.now_s for ready_s in self.fluid[name].ready_s)

    def run(self, seconds: float, demand: float) -> None:
        """Let work come at `demand` tokens a second."""
        for _ in range(round(seconds / STEP_S)):
            self.now_s += STEP_S
            can = {name: self.ready(name) * each.rate * STEP_S for name, each in self.fluid.items()}
            self.offered += demand * STEP_S
            done = min(self.waiting + demand * STEP_S, sum(can.values()))
            self.waiting = min(self.waiting + demand * STEP_S - done, 10.0 * sum(can.values()) / STEP_S + 100.0)
            self.dispatched += done
            for name, each in self.fluid.items():
                share = can[name] / sum(can.values()) if sum(can.values()) else 0.0
                each.accepted += share * done / REQUEST
                self._report(name, each, is_busy=share * done > 0)
            self._gateway(done / max(1.0, sum(can.values())))
            self.scaling.decide(self.now_s)
            self.scaling.check_integrity()
            self._obey()

    def _report(self, name: str, each: FluidPool, *, is_busy: bool) -> None:
        ready = self.ready(name)
        for number in range(ready):
            figures = ReplicaFigures(in_flight=4 * is_busy, accepted=int(each.accepted / ready))
            self.scaling.hear_replica(f"{name}-{number}", name, figures, self.now_s)

    def _gateway(self, occupancy: float) -> None:
        figures = GatewayFigures(
            waiting_requests=int(self.waiting / REQUEST),
            waiting_work=self.waiting,
            offered_requests=int(self.offered / REQUEST),
            offered_work=self.offered,
            offered_work_squared=self.offered * REQUEST,
            dispatched_work=self.dispatched,
            occupancy=occupancy,
        )
        self.scaling.hear_gateway("g", figures, self.now_s, self.now_s)

    def _obey(self) -> None:
        for name, each in self.fluid.items():
            wanted = self.scaling.target(name) or 0
            while len(each.ready_s) < wanted:
                each.ready_s.append(self.now_s + START_S if each.has_machines else float("inf"))
            while len(each.ready_s) > wanted:
                gone = each.ready_s.index(max(each.ready_s))
                if each.ready_s.pop(gone) <= self.now_s:
                    self.scaling.replica_left(f"{name}-{self.ready(name)}", name, self.now_s)


def test_pools_share_the_load_and_both_grow_and_shrink() -> None:
    """Twelve replicas' work on two equal pools: together a few more than that, and as few as before when it ends."""
    model = FluidModel([pool("a", 1, 20), pool("b", 2, 20)], {"a": 100.0, "b": 100.0})
    model.run(30, demand=50.0)
    assert model.targets() == {"a": 1, "b": 2}
    model.run(120, demand=1_200.0)
    targets = model.targets()
    assert 12 <= sum(target or 0 for target in targets.values()) <= 18
    assert min(target or 0 for target in targets.values()) >= 3
    model.run(200, demand=50.0)
    assert model.targets() == {"a": 1, "b": 2}


def test_the_rates_of_the_pools_are_learned_apart() -> None:
    """Believed to be equal, one pool is four times as fast: what each did while requests waited shows it."""
    model = FluidModel([pool("slow", 2, 2), pool("fast", 2, 2)], {"slow": 50.0, "fast": 200.0})
    model.run(300, demand=600.0)
    rates = {name: rows[0]["signals"]["replica_work_per_s"] for name, rows in model.scaling.history()}
    assert rates["slow"] == pytest.approx(50.0, rel=0.25)
    assert rates["fast"] == pytest.approx(200.0, rel=0.25)


def test_a_fixed_pool_keeps_its_number_and_the_other_takes_the_rest() -> None:
    """A thousand tokens a second on four fixed replicas of a hundred: the other pool gets what they cannot do."""
    model = FluidModel([pool("fixed", 4, 4), pool("free", 1, 20)], {"fixed": 100.0, "free": 100.0})
    model.run(120, demand=1_000.0)
    targets = model.targets()
    assert targets["fixed"] == 4
    assert 6 <= (targets["free"] or 0) <= 11
    rows = dict(model.scaling.history())["fixed"]
    assert {(row["previous"], row["target"]) for row in rows} == {(4, 4)}


def test_what_a_pool_without_machines_cannot_get_the_other_orders() -> None:
    """Its replicas never come: once they are long overdue, the other pool is scaled for the whole load."""
    model = FluidModel([pool("stuck", 1, 10), pool("free", 1, 10)], {"stuck": 100.0, "free": 100.0})
    model.fluid["stuck"].has_machines = False
    model.run(200, demand=700.0)
    assert model.ready("stuck") == 1
    assert model.ready("free") >= 6
    assert model.waiting < 700.0


def test_a_pool_without_replicas_waits_for_the_others_to_be_full() -> None:
    """The second pool is for peaks: it stays at none while the first can grow, helps beyond it, and goes at night."""
    model = FluidModel([pool("first", 1, 3), pool("peaks", 0, 5)], {"first": 100.0, "peaks": 100.0})
    model.run(60, demand=150.0)
    assert model.targets()["peaks"] == 0
    model.run(100, demand=500.0)
    assert model.targets()["first"] == 3
    assert (model.targets()["peaks"] or 0) >= 2
    model.run(100, demand=0.0)
    assert model.targets() == {"first": 1, "peaks": 0}


def test_held_requests_start_one_pool_only() -> None:
    """With every pool at none, the first of the file is started for the first request."""
    scaling = ModelPools([pool("a", 0, 3), pool("b", 0, 3)])
    for step in range(4):
        held = GatewayFigures(waiting_requests=1, waiting_work=10.0, offered_requests=1, offered_work=10.0)
        scaling.hear_gateway("g", held, float(step), float(step))
        scaling.decide(float(step))
    assert (scaling.target("a"), scaling.target("b")) == (1, 0)


def test_a_restarted_autoscaler_goes_on_with_the_replicas_there_are() -> None:
    """Each pool's policy says its number; the first to come does not make the other's fall to its least."""
    scaling = ModelPools([pool("a", 1, 9), pool("b", 1, 9)])
    scaling.begin("a", 5)
    scaling.begin("b", 7)
    scaling.begin("b", 2)  # an old policy that says it later
    assert (scaling.target("a"), scaling.target("b")) == (5, 7)
    scaling.begin("gone", 3)
    assert scaling.target("gone") is None


def test_pools_that_stay_keep_what_they_learned() -> None:
    """A deployment with another pool more and other bounds: the target stays within them."""
    scaling = ModelPools([pool("a", 1, 9), pool("b", 1, 9)])
    scaling.begin("a", 5)
    scaling.set_pools([pool("c", 2, 4), pool("a", 1, 3)])
    assert (scaling.target("a"), scaling.target("b"), scaling.target("c")) == (5, None, 2)
    for step in range(3):
        scaling.hear_gateway("g", GatewayFigures(), float(step), float(step))
        scaling.decide(float(step))
    assert [view.pool for view in scaling.views()] == ["c", "a"]
    assert (scaling.target("a"), scaling.target("c")) == (3, 2)


def test_one_pool_is_scaled_as_a_model_always_was() -> None:
    """Figures reach its autoscaler unchanged: the same decisions, to the digit."""
    only = pool("", 1, 9)
    scaling, alone = ModelPools([only]), ModelAutoscaler(Autoscaler(only.targets), 1)
    for step in range(400):
        now_s, work = step * STEP_S, 100.0 * step if step < 200 else 20_000.0
        figures = GatewayFigures(
            waiting_requests=3 * (50 < step < 100), waiting_work=300.0 * (50 < step < 100), offered_work=work,
            offered_work_squared=10 * work, dispatched_work=work,
        )  # fmt: skip
        replica = ReplicaFigures(in_flight=4, waiting_tokens=7, prefill_tokens_per_s=900.0, accepted=step)
        scaling.hear_replica("r", "", replica, now_s)
        alone.figures.hear_replica("r", replica, now_s)
        scaling.hear_gateway("g", figures, now_s, now_s)
        alone.figures.hear_gateway("g", figures, now_s, now_s)
        scaling.decide(now_s)
        alone.decide(now_s)
    assert dict(scaling.history()) == {"": alone.history.rows()}
    assert len(alone.history.rows()) > 2


# --- prefill pools


def prefill_model(least: int) -> ModelPools:
    """Return the scaling of a prefill pool of up to eight replicas beside one decode replica."""
    return ModelPools([pool("p", least, 8, Role.PREFILL), pool("d", 1, 1, Role.DECODE)])


def prefill_for(scaling: ModelPools, since_s: float, seconds: float, replicas: int, waiting_s: float) -> float:
    """Let `replicas` prefill replicas report for some time that prompts of `waiting_s` seconds wait at each.

    Returns:
        The time after that.
    """
    now_s = since_s
    for _ in range(round(seconds / STEP_S)):
        now_s += STEP_S
        for number in range(replicas):
            busy = ReplicaFigures(
                in_flight=int(waiting_s > 0), waiting_tokens=int(5_000 * waiting_s), prefill_tokens_per_s=5_000.0
            )
            scaling.hear_replica(f"p{number}", "p", busy, now_s)
        scaling.hear_replica("d0", "d", ReplicaFigures(in_flight=1), now_s)
        scaling.hear_gateway("g", GatewayFigures(), now_s, now_s)
        scaling.decide(now_s)
        scaling.check_integrity()
    return now_s


def test_a_prefill_pool_follows_the_seconds_that_prompts_wait() -> None:
    """Prompts wait ten seconds at its only replica: it grows; none wait and none run: it shrinks again."""
    scaling = prefill_model(1)
    now_s = prefill_for(scaling, 0.0, 20, replicas=1, waiting_s=0.0)
    assert scaling.target("p") == 1
    now_s = prefill_for(scaling, now_s, 10, replicas=1, waiting_s=10.0)
    assert (scaling.target("p") or 0) >= 2
    assert scaling.target("d") == 1
    (reason, *_), *_ = [row["reasons"] for row in dict(scaling.history())["p"] if row["target"] > row["previous"]]
    assert "requests would wait" in reason or "requests have been waiting" in reason or "there will be work" in reason
    prefill_for(scaling, now_s, 120, replicas=scaling.target("p") or 0, waiting_s=0.0)
    assert scaling.target("p") == 1


def test_a_busy_prefill_pool_has_replicas_to_spare() -> None:
    """Four replicas that compute all the time without a queue are a load of four: the pool keeps more than four."""
    scaling = ModelPools([pool("p", 1, 8, Role.PREFILL), pool("d", 1, 1, Role.DECODE)])
    scaling.begin("p", 4)
    prefill_for(scaling, 0.0, 60, replicas=4, waiting_s=0.01)
    (view,) = [view for view in scaling.views() if view.pool == "p"]
    assert view.load_replicas == pytest.approx(4.0, rel=0.1)
    assert 5 <= view.target <= 6


def test_a_prefill_pool_without_replicas_starts_when_prompts_wait_elsewhere() -> None:
    """Not while the decode pool computes its prompts in time."""
    scaling = prefill_model(0)
    now_s = 0.0
    for waiting_tokens, target in ((0, 0), (500, 0), (20_000, 1)):
        for _ in range(6):
            now_s += STEP_S
            busy = ReplicaFigures(in_flight=1, waiting_tokens=waiting_tokens, prefill_tokens_per_s=1_000.0)
            scaling.hear_replica("d0", "d", busy, now_s)
            scaling.hear_gateway("g", GatewayFigures(), now_s, now_s)
            scaling.decide(now_s)
        assert scaling.target("p") == target
