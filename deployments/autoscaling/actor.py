"""Collects figures and decides targets: one small Ray actor for each Serve application that autoscales.

It is separate from Serve's controller, so a decision never delays Serve, and what was learned outlives a redeployment.
If it dies, Ray restarts it. Gateways and replicas go on sending figures, and Serve's policies send the models and their
bounds again. A model that the actor does not know yet is not scaled.
"""

import asyncio
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cluster.autoscaling.metrics.figures import GatewayFigures, ReplicaFigures
from cluster.autoscaling.scaling_view import ScalingView
from cluster.pool_scaling.model_pools import ModelPools
from cluster.pool_scaling.scaled_pool import ScaledPool

POLL_S: Final = 5.0
"""Seconds after which `follow` returns even if the target has not changed."""
LINGER_S: Final = 120.0
"""Seconds without a follower after which a model is forgotten. Once it has no models the actor ends itself."""


def actor_name(application: str) -> str:
    """Return the name of the actor of a Serve application."""
    return f"autoscaler:{application}"


@dataclass(frozen=True, slots=True)
class Following:
    """A request of Serve's policy to follow the target of one pool of a model.

    Attributes:
        model: the model's name.
        pool: the pool's name; "": the model has one pool without a name.
        pools: all pools of the model, in the cluster file's order.
        since_s: when the policy was created, Unix seconds. During a redeployment there are two policies; the younger
            one's pools are used.
        replicas: replicas of the pool asked for so far; used only if the actor does not know the pool yet.
        known: the last target that the policy got; None: it got none yet.
    """

    model: str
    pool: str
    pools: tuple[ScaledPool, ...]
    since_s: float
    replicas: int
    known: int | None


class _Model:
    def __init__(self, following: Following) -> None:
        self.pools = ModelPools(following.pools)
        self.since_s = following.since_s
        self.followed_s = time.monotonic()
        self.changed = asyncio.Event()


class ScalingActor:
    """Decides how many replicas each pool is to have; called by `client` and `serve_policy` of this folder.

    Args:
        linger_s: seconds without a follower after which a model is forgotten.
    """

    def __init__(self, linger_s: float = LINGER_S) -> None:
        self._models: dict[str, _Model] = {}
        self._began_s = time.monotonic()
        threading.Thread(target=self._end_when_unused, args=(linger_s,), name="linger", daemon=True).start()

    async def gateway(
        self, gateway_id: str, sent_s: float, models: Mapping[str, GatewayFigures]
    ) -> dict[str, tuple[ScalingView, ...]]:
        """Take a gateway's figures and decide on them.

        Args:
            gateway_id: the gateway's id.
            sent_s: when it sent them, monotonic seconds of its own machine.
            models: its figures, by model; models that do not autoscale are ignored.

        Returns:
            The state of autoscaling of each model's pools, by model.
        """
        now_s = time.monotonic()
        for name, figures in models.items():
            model = self._models.get(name)
            if model is not None:
                model.pools.hear_gateway(gateway_id, figures, sent_s, now_s)
                self._decide(model, now_s)
        return {name: model.pools.views() for name, model in self._models.items()}

    async def replica(self, replica_id: str, model: str, pool: str, figures: ReplicaFigures) -> None:
        """Take the figures of a replica that takes requests."""
        known = self._models.get(model)
        if known is not None:
            known.pools.hear_replica(replica_id, pool, figures, time.monotonic())

    async def replica_left(self, replica_id: str, model: str, pool: str) -> None:
        """Stop counting a replica as ready, as it takes no more requests."""
        known = self._models.get(model)
        if known is not None:
            known.pools.replica_left(replica_id, pool, time.monotonic())

    async def follow(self, following: Following) -> int:
        """Return a pool's target once it differs from `following.known`, or after `POLL_S`."""
        model = self._models.get(following.model)
        if model is None:
            model = self._models[following.model] = _Model(following)
        if following.since_s >= model.since_s:
            model.pools.set_pools(following.pools)
        model.since_s = max(model.since_s, following.since_s)
        model.pools.begin(following.pool, following.replicas)
        deadline_s = time.monotonic() + POLL_S
        while (now_s := time.monotonic()) < deadline_s and _told(model, following) == following.known:
            model.followed_s = now_s
            try:
                async with asyncio.timeout(deadline_s - now_s):
                    await model.changed.wait()
            except TimeoutError:
                break
        model.followed_s = time.monotonic()
        return _told(model, following)

    async def history(self, most: int) -> dict[str, list[dict[str, Any]]]:
        """Return each model's last decisions, with the pool and the seconds since each: by pool, newest first.

        Args:
            most: most rows for each pool.
        """
        now_s = time.monotonic()
        told: dict[str, list[dict[str, Any]]] = {}
        for name, model in list(self._models.items()):
            told[name] = [
                {**row, "pool": pool, "from_ago_s": now_s - row["from_s"], "ago_s": now_s - row["until_s"]}
                for pool, rows in model.pools.history()
                for row in rows[:most]
            ]
        return told

    def _decide(self, model: _Model, now_s: float) -> None:
        if model.pools.decide(now_s):
            model.changed.set()
            model.changed = asyncio.Event()

    def _end_when_unused(self, linger_s: float) -> None:
        while True:
            time.sleep(linger_s / 10)
            now_s = time.monotonic()
            for name, model in list(self._models.items()):
                if now_s - model.followed_s > linger_s:
                    del self._models[name]
            if not self._models and now_s - self._began_s > linger_s:
                break
        import deployments.ray_api as ray_api  # noqa: PLC0415 - only this last step needs it

        ray_api.end_this_actor()


def _told(model: _Model, following: Following) -> int:
    """Return a pool's target; of a pool that a younger policy no longer knows, what its own policy has."""
    target = model.pools.target(following.pool)
    if target is not None:
        return target
    return following.replicas if following.known is None else following.known
