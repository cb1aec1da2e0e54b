"""Whatever gateways and replicas report and however pools come and go, each pool's target stays within its bounds."""

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.autoscaling.metrics.figures import GatewayFigures, ReplicaFigures
from cluster.autoscaling.targets import AutoscalingTargets
from cluster.pool_scaling.model_pools import ModelPools
from cluster.pool_scaling.scaled_pool import ScaledPool
from cluster.spec.role import Role

NAMES = ("a", "b", "c")


def pool(name: str, role: Role, least: int, more: int, work_per_s: float) -> ScaledPool:
    """Return a pool of `least` to `least + more` replicas that scales within seconds."""
    targets = AutoscalingTargets(
        least, max(1, least + more), scale_down_after_s=2.0, scale_to_zero_after_s=2.0, first_cold_start_s=1.0,
        first_work_per_s=work_per_s,
    )  # fmt: skip
    return ScaledPool(name, role, targets)


def pools(*roles: Role) -> st.SearchStrategy[list[ScaledPool]]:
    """Draw one to three pools with names of their own."""
    one = st.builds(
        pool, st.sampled_from(NAMES), st.sampled_from(roles), st.integers(0, 3), st.integers(0, 5),
        st.sampled_from([0.0, 100.0]),
    )  # fmt: skip
    return st.lists(one, min_size=1, max_size=3, unique_by=lambda each: each.name)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("gateway"), st.sampled_from(["g1", "g2"]), st.integers(0, 50), st.integers(0, 5_000)),
        st.tuples(st.just("replica"), st.sampled_from(NAMES), st.integers(0, 5), st.integers(0, 10_000)),
        st.tuples(st.just("left"), st.sampled_from(NAMES), st.integers(0, 5)),
        st.tuples(st.just("begin"), st.sampled_from(NAMES), st.integers(0, 9)),
        st.tuples(st.just("pools"), pools(*Role)),
    ),
    max_size=60,
)


@settings(max_examples=60)
@given(pools(*Role), STEPS)
def test_targets_stay_within_bounds(first: list[ScaledPool], steps: list[tuple[object, ...]]) -> None:
    """Fixed pools keep their number; every pool that decided lies between its least and its most."""
    scaling = ModelPools(first)
    offered = dict.fromkeys(("g1", "g2"), 0.0)
    accepted = 0
    for number, (kind, *what) in enumerate(steps):
        now_s = number * 0.5
        match kind, what:
            case "gateway", [str(gateway), int(waiting), int(work)]:
                offered[gateway] += work
                total = offered[gateway]
                figures = GatewayFigures(waiting, 10.0 * waiting, number, total, total * 10, 0.9 * total, total / 1_000)
                scaling.hear_gateway(gateway, figures, now_s, now_s)
            case "replica", [str(name), int(replica), int(tokens)]:
                accepted += 1
                told = ReplicaFigures(1, tokens, 1_000.0 if tokens % 2 else 0.0, 0.5, 1.0, accepted)
                scaling.hear_replica(f"{name}{replica}", name, told, now_s)
            case "left", [str(name), int(replica)]:
                scaling.replica_left(f"{name}{replica}", name, now_s)
            case "begin", [str(name), int(replicas)]:
                scaling.begin(name, replicas)
            case "pools", [list(new)]:
                scaling.set_pools(new)
        scaling.decide(now_s)
        scaling.check_integrity()
        decided = {name for name, rows in scaling.history() if rows}
        for each in scaling.pools:
            target = scaling.target(each.name)
            assert target is not None
            if kind == "gateway" and each.name in decided and each.role is not Role.PREFILL:
                assert each.targets.bounded(target) == target
