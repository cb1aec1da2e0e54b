"""The autoscaler's actor, without Ray around it: each pool's policy hears of its own target."""

import asyncio
from dataclasses import replace

from cluster.autoscaling.metrics.figures import GatewayFigures, ReplicaFigures
from cluster.autoscaling.targets import AutoscalingTargets
from cluster.pool_scaling.scaled_pool import ScaledPool
from cluster.spec.role import Role
from deployments.autoscaling.actor import Following, ScalingActor

POOLS = (
    ScaledPool("a", Role.BOTH, AutoscalingTargets(0, 4)),
    ScaledPool("b", Role.BOTH, AutoscalingTargets(2, 2)),
)
HELD = GatewayFigures(waiting_requests=1, waiting_work=10.0, offered_requests=1, offered_work=10.0)


def following(pool: str, replicas: int, pools: tuple[ScaledPool, ...] = POOLS, since_s: float = 1.0) -> Following:
    """Return a policy's first call."""
    return Following("m", pool, pools, since_s, replicas, None)


async def test_a_policy_is_told_its_pools_replicas() -> None:
    """At once while it knows none; a pool that a later deployment took away keeps what it has."""
    actor = ScalingActor(linger_s=1e6)
    assert await actor.follow(following("a", 3)) == 3
    assert await actor.follow(following("b", 2)) == 2
    only_a = (replace(POOLS[0], targets=AutoscalingTargets(1, 9)),)
    assert await actor.follow(following("a", 1, only_a, since_s=2.0)) == 3
    assert await actor.follow(following("b", 2)) == 2  # the old policy, until Serve drops it


async def test_a_changed_target_is_told_at_once() -> None:
    """A held request starts the pool without replicas; the views and the history say of which pool they are."""
    actor = ScalingActor(linger_s=1e6)
    pools = (POOLS[0],)
    assert await actor.follow(following("a", 0, pools)) == 0
    waiting = asyncio.create_task(actor.follow(Following("m", "a", pools, 1.0, 0, 0)))
    await asyncio.sleep(0)
    for sent_s in (1.0, 2.0):
        views = await actor.gateway("g", sent_s, {"m": HELD, "other": HELD})
    assert await asyncio.wait_for(waiting, 1.0) == 1
    assert [(view.pool, view.target, view.maximum) for view in views["m"]] == [("a", 1, 4)]
    rows = (await actor.history(5))["m"]
    assert {row["pool"] for row in rows} == {"a"}


async def test_figures_reach_the_pool_they_are_of() -> None:
    """Two ready replicas of one pool, one of which leaves; figures of unknown models and pools are ignored."""
    actor = ScalingActor(linger_s=1e6)
    await actor.follow(following("a", 1))
    for name in ("b0", "b1"):
        await actor.replica(name, "m", "b", ReplicaFigures(in_flight=1))
    await actor.replica("x", "m", "gone", ReplicaFigures())
    await actor.replica("x", "other", "b", ReplicaFigures())
    await actor.replica_left("b1", "m", "b")
    await actor.gateway("g", 1.0, {"m": GatewayFigures()})
    rows = (await actor.history(5))["m"]
    assert {row["pool"]: row["metrics"]["ready"] for row in rows} == {"a": 0, "b": 1}
