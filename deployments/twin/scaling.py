"""Autoscaling of a simulated cluster: the live autoscalers of the pools, with the figures that they get live."""

from collections.abc import Iterator, Sequence
from typing import Final

from cluster.autoscaling.metrics.figures import ReplicaFigures
from cluster.pool_scaling.model_pools import ModelPools
from cluster.pool_scaling.scaled_pool import ScaledPool, autoscaling_targets
from cluster.spec.model_spec import ModelSpec
from deployments.twin.fleet import Pool, TwinFleet
from deployments.twin.gateways import Gateways
from deployments.twin.member import Stage, TwinReplica

DECIDE_EVERY_S: Final = 0.5
"""Seconds between two reports of gateways and replicas to the autoscaler, after each of which it decides."""


class Scaling:
    """The autoscalers of all models whose number of replicas follows the load.

    Args:
        models: the models.
        fleet: the replicas.
        gateways: the gateways.

    Attributes:
        every_s: seconds between two decisions.
    """

    def __init__(self, models: Sequence[ModelSpec], fleet: TwinFleet, gateways: Gateways) -> None:
        self.every_s = DECIDE_EVERY_S
        self._fleet = fleet
        self._gateways = gateways
        self._pools: dict[int, ModelPools] = {}
        for number, model in enumerate(models):
            if model.is_autoscaled:
                pools = ModelPools(
                    [ScaledPool(pool.pool, pool.role, autoscaling_targets(pool)) for pool in model.in_pools()]
                )
                for pool in model.in_pools():
                    pools.begin(pool.pool, pool.replicas.min)
                self._pools[number] = pools

    @property
    def is_needed(self) -> bool:
        """Whether any model's number of replicas follows the load."""
        return bool(self._pools)

    def left(self, member: TwinReplica, now_s: float) -> None:
        """Note that a replica takes no more requests."""
        pools = self._pools.get(member.model)
        if pools is not None:
            pools.replica_left(member.name, member.kind.spec.pool, now_s)

    def decide(self, now_s: float) -> Iterator[tuple[Pool, int]]:
        """Tell the autoscalers what they are told live; yield the pools whose target changed, and their target before.

        Args:
            now_s: the time, seconds.
        """
        for number, pools in self._pools.items():
            for gateway, row in enumerate(self._gateways.rows):
                pools.hear_gateway(f"gateway-{gateway}", row[number].dispatcher.load(now_s), now_s, now_s)
        for member in self._fleet.members.values():
            scaled = self._pools.get(member.model)
            if scaled is not None and member.stage is Stage.READY:
                scaled.hear_replica(member.name, member.kind.spec.pool, self._figures(member), now_s)
        for number, pools in self._pools.items():
            pools.decide(now_s)
            for pool in self._fleet.pools:
                target = pools.target(pool.kind.spec.pool) if pool.model == number else None
                if target is not None and target != pool.target:
                    before, pool.target = pool.target, target
                    yield pool, before

    def _figures(self, member: TwinReplica) -> ReplicaFigures:
        replica = self._gateways.rows[0][member.model].dispatcher.fleet.replicas.get(member.name)
        report = replica.report if replica is not None else None
        start_s = member.ready_s - member.ordered_s
        if report is None:
            return ReplicaFigures(member.in_flight, start_s=start_s, accepted=sum(member.accepted))
        return ReplicaFigures(
            member.in_flight,
            report.waiting_tokens,
            report.prefill_tokens_per_s,
            report.kv_usage,
            start_s,
            sum(member.accepted),
        )
