"""The autoscalers of one model's pools: each decides by itself, on its part of the model's load."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cluster.autoscaling.autoscaler import OVERDUE_STARTS, Autoscaler, AutoscalerState
from cluster.autoscaling.metrics.figures import GatewayFigures, ReplicaFigures
from cluster.autoscaling.model_autoscaler import DECIDE_EVERY_S, ModelAutoscaler
from cluster.autoscaling.scaling_view import ScalingView
from cluster.pool_scaling.prefill_load import PrefillLoad, targets_in_ms
from cluster.pool_scaling.scaled_pool import ScaledPool
from cluster.pool_scaling.shares import PoolCapacity, capacity_shares
from cluster.pool_scaling.work_division import TakenRequests, WorkDivision
from cluster.spec.role import Role

_ROUNDING = 1e-9
PREFILL_REPORTER = "replicas"
"""Under this name the replicas of a prefill pool give it the figures that other pools get from gateways."""


@dataclass(slots=True)
class _Pool:
    """One pool as it is scaled.

    Attributes:
        scaled: its name, role and targets.
        autoscaler: decides on its replicas.
        prefill: adds its load up; None: gateways tell it.
        has_begun: it is known how many replicas were asked for when it began to be scaled here.
    """

    scaled: ScaledPool
    autoscaler: ModelAutoscaler[AutoscalerState]
    prefill: PrefillLoad | None
    has_begun: bool = False


class ModelPools:
    """Scales the pools of one model.

    The pools that generate answers share what gateways tell of the model (`shares`, `work_division`). A pool that only
    computes prompts is scaled by what its own replicas report (`prefill_load`); it gets its first replica when prompts
    wait for longer than its target in the engines of the others.

    Args:
        pools: the pools in the cluster file's order; at least one that generates answers.
    """

    def __init__(self, pools: Sequence[ScaledPool]) -> None:
        self._pools: dict[str, _Pool] = {}
        self._taken = TakenRequests()
        self._division = WorkDivision(0)
        self._prefill_told_s = -DECIDE_EVERY_S
        self._set(pools)

    @property
    def pools(self) -> tuple[ScaledPool, ...]:
        """The pools, in the cluster file's order."""
        return tuple(pool.scaled for pool in self._pools.values())

    def set_pools(self, pools: Sequence[ScaledPool]) -> None:
        """Scale these pools from now on; what was learned of those that stay, stays."""
        if tuple(pools) != self.pools:
            self._set(pools)

    def _set(self, pools: Sequence[ScaledPool]) -> None:
        known, self._pools = self._pools, {}
        for scaled in pools:
            before = known.get(scaled.name)
            if before is None or (before.prefill is None) != (scaled.role is not Role.PREFILL):
                self._pools[scaled.name] = _begun(scaled, scaled.targets.min_replicas)
            else:
                before.autoscaler.set_policy(_policy(scaled))
                self._pools[scaled.name] = replace(before, scaled=scaled)
        names = [pool.name for pool in self._answering()]
        if names != [pool.scaled.name for pool in known.values() if pool.prefill is None]:
            self._division = WorkDivision(len(names))

    def _answering(self) -> list[ScaledPool]:
        return [pool.scaled for pool in self._pools.values() if pool.prefill is None]

    def begin(self, pool: str, replicas: int) -> None:
        """Say how many replicas of a pool were asked for before it was scaled here; only the first time counts."""
        known = self._pools.get(pool)
        if known is not None and not known.has_begun:
            self._pools[pool] = replace(_begun(known.scaled, replicas), has_begun=True)

    def target(self, pool: str) -> int | None:
        """Return the replicas asked for of a pool; None: there is no such pool."""
        known = self._pools.get(pool)
        return known.autoscaler.target if known is not None else None

    def views(self) -> tuple[ScalingView, ...]:
        """Return the state of each pool's autoscaling, for the gateways' metrics."""
        return tuple(
            replace(pool.autoscaler.view(pool.scaled.targets.max_replicas), pool=name)
            for name, pool in self._pools.items()
        )

    def history(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Yield each pool's name and last decisions, newest first."""
        for name, pool in self._pools.items():
            yield name, pool.autoscaler.history.rows()

    def hear_gateway(self, gateway_id: str, figures: GatewayFigures, sent_s: float, now_s: float) -> None:
        """Take a gateway's report.

        Args:
            gateway_id: the gateway's id.
            figures: its figures of the model.
            sent_s: when it sent them, monotonic seconds of its own clock.
            now_s: the time.
        """
        pools = [pool for pool in self._pools.values() if pool.prefill is None]
        if len(pools) == 1:
            pools[0].autoscaler.figures.hear_gateway(gateway_id, figures, sent_s, now_s)
        elif pools:
            wanted = self._shares(now_s, is_waiting=figures.waiting_requests > 0)
            taken = self._taken.shares([pool.scaled.name for pool in pools]) or wanted
            parts = self._division.divide(gateway_id, figures, sent_s, now_s, wanted=wanted, taken=taken)
            for pool, part in zip(pools, parts, strict=bool(parts)):
                pool.autoscaler.figures.hear_gateway(gateway_id, part, sent_s, now_s)
        if now_s - self._prefill_told_s >= DECIDE_EVERY_S:
            self._prefill_told_s = now_s
            for pool in self._pools.values():
                if pool.prefill is not None:
                    wait_s = self._answering_wait_s()
                    told = pool.prefill.figures(now_s, is_wanted=wait_s > pool.scaled.targets.target_queue_s)
                    pool.autoscaler.figures.hear_gateway(PREFILL_REPORTER, told, now_s, now_s)

    def _shares(self, now_s: float, *, is_waiting: bool) -> list[float]:
        """Return the share of the work offered that each pool which generates answers is to take."""
        capacities = [_capacity(pool, now_s) for pool in self._pools.values() if pool.prefill is None]
        return capacity_shares(capacities, is_waiting=is_waiting) if capacities else []

    def _answering_wait_s(self) -> float:
        """Return the seconds that a prompt waits at least in the engines of the pools that generate answers."""
        last = [pool.autoscaler.history.last for pool in self._pools.values() if pool.prefill is None]
        waits_s = [
            decision.metrics.engine_wait_s for decision in last if decision is not None and decision.metrics.ready
        ]
        return min(waits_s, default=0.0)

    def hear_replica(self, replica_id: str, pool: str, figures: ReplicaFigures, now_s: float) -> None:
        """Take the report of a replica that takes requests; of a pool that is not known, it is ignored."""
        known = self._pools.get(pool)
        if known is None:
            return
        if known.prefill is not None:
            figures = known.prefill.hear(replica_id, figures, now_s)
        else:
            self._taken.hear(replica_id, pool, figures.accepted, now_s)
        known.autoscaler.figures.hear_replica(replica_id, figures, now_s)

    def replica_left(self, replica_id: str, pool: str, now_s: float) -> None:
        """Stop counting a replica as ready, as it takes no more requests."""
        known = self._pools.get(pool)
        if known is not None:
            known.autoscaler.figures.replica_left(replica_id)
            if known.prefill is not None:
                known.prefill.left(replica_id, now_s)

    def decide(self, now_s: float) -> list[str]:
        """Decide for each pool of which there are new figures; return the pools whose target changed.

        Args:
            now_s: the time, monotonic seconds.
        """
        decisions = [(name, pool.autoscaler.decide(now_s)) for name, pool in self._pools.items()]
        return [name for name, made in decisions if made is not None and made.target != made.previous]

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        for name, pool in self._pools.items():
            pool.autoscaler.check_integrity()
            if name != pool.scaled.name:
                raise AssertionError(f"{pool.scaled.name} is known as {name}")
        shares = self._shares(0.0, is_waiting=True)
        if shares and abs(sum(shares) - 1.0) > _ROUNDING:
            raise AssertionError(f"the pools' shares are {shares}, which is not the whole")


def _policy(scaled: ScaledPool) -> Autoscaler:
    return Autoscaler(targets_in_ms(scaled.targets) if scaled.role is Role.PREFILL else scaled.targets)


def _begun(scaled: ScaledPool, replicas: int) -> _Pool:
    autoscaler = ModelAutoscaler(_policy(scaled), replicas)
    return _Pool(scaled, autoscaler, PrefillLoad() if scaled.role is Role.PREFILL else None)


def _capacity(pool: _Pool, now_s: float) -> PoolCapacity:
    """Return a pool's capacity, with the replicas asked for; replicas long overdue do not count."""
    target, maximum = pool.autoscaler.target, pool.scaled.targets.max_replicas
    last = pool.autoscaler.history.last
    if last is None:
        return PoolCapacity(target, maximum, pool.scaled.targets.first_work_per_s)
    signals, ready = last.signals, last.metrics.ready
    if ready < target:
        ordered_s = next(
            (
                each.last.at_s
                for each in reversed(list(pool.autoscaler.history))
                if each.last.target > each.last.previous
            ),
            next(iter(pool.autoscaler.history)).first.at_s,
        )
        if now_s - ordered_s > OVERDUE_STARTS * signals.get("lead_s", 0.0):
            target = ready
    return PoolCapacity(target, maximum, signals.get("replica_work_per_s", 0.0))
