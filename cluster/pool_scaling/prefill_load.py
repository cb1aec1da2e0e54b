"""The load of a pool that only computes prompts, from what its own replicas report.

Gateways do not say which requests go through such a pool. Its work is therefore counted in milliseconds of prefill: a
replica that is busy does 1,000 a second, whatever its speed, and what waits is the prompt tokens in its queue over its
speed. With work counted so, the policy of all other pools serves here too.
"""

from dataclasses import dataclass, replace

from cluster.autoscaling.metrics.figures import GatewayFigures, ReplicaFigures
from cluster.autoscaling.metrics.fleet_figures import REPLICA_FORGET_S
from cluster.autoscaling.targets import AutoscalingTargets

WORK_PER_S = 1000.0
"""Work a second of one busy replica, milliseconds of prefill."""


@dataclass(slots=True)
class _Seen:
    figures: ReplicaFigures
    heard_s: float


class PrefillLoad:
    """Adds up the busy time of a prefill pool's replicas."""

    def __init__(self) -> None:
        self._replicas: dict[str, _Seen] = {}
        self._at_s: float | None = None
        self._done = 0.0
        self._squared = 0.0
        self._offered = 0.0
        self._accepted = 0

    def hear(self, replica_id: str, figures: ReplicaFigures, now_s: float) -> ReplicaFigures:
        """Take a replica's report; return it with its queue in milliseconds of prefill."""
        self._advance(now_s)
        before = self._replicas.get(replica_id)
        if before is not None:
            self._accepted += max(0, figures.accepted - before.figures.accepted)
        self._replicas[replica_id] = _Seen(figures, now_s)
        waiting = round(self._waits_s(figures) * WORK_PER_S)
        return replace(figures, waiting_tokens=waiting, prefill_tokens_per_s=WORK_PER_S)

    def left(self, replica_id: str, now_s: float) -> None:
        """Forget a replica that takes no more requests."""
        self._advance(now_s)
        self._replicas.pop(replica_id, None)

    def figures(self, now_s: float, *, is_wanted: bool) -> GatewayFigures:
        """Return the pool's load in the form of a gateway's figures, with work in milliseconds of prefill.

        Args:
            now_s: the time, monotonic seconds.
            is_wanted: prompts wait for long in the engines of other pools. While the pool has no replica, this asks for
                the first one.
        """
        self._advance(now_s)
        waiting = sum(self._waits_s(seen.figures) for seen in self._replicas.values()) * WORK_PER_S
        total = self._done + waiting
        self._offered = max(self._offered, total)  # what waited may go without being done, but never was not offered
        return GatewayFigures(
            waiting_requests=int(is_wanted and not self._replicas),
            offered_requests=self._accepted,
            offered_work=self._offered,
            offered_work_squared=self._squared,
            dispatched_work=total,
            prefill_s=self._done / WORK_PER_S,
        )

    def _advance(self, now_s: float) -> None:
        """Count the time since the last call for the replicas that had requests; forget the silent ones."""
        elapsed_s = max(0.0, now_s - self._at_s) if self._at_s is not None else 0.0
        self._at_s = now_s
        for seen in self._replicas.values():
            if seen.figures.in_flight:
                done = min(elapsed_s, REPLICA_FORGET_S) * WORK_PER_S
                self._done += done
                self._squared += done * done
        for gone in [key for key, seen in self._replicas.items() if now_s - seen.heard_s > REPLICA_FORGET_S]:
            del self._replicas[gone]

    def _waits_s(self, figures: ReplicaFigures) -> float:
        """Return the seconds that a replica takes for the prompts in its queue, by the pool's mean speed if need be."""
        speeds = [seen.figures.prefill_tokens_per_s for seen in self._replicas.values()]
        known = [speed for speed in speeds if speed > 0]
        speed = figures.prefill_tokens_per_s or (sum(known) / len(known) if known else 0.0)
        return figures.waiting_tokens / speed if speed > 0 else 0.0


def targets_in_ms(targets: AutoscalingTargets) -> AutoscalingTargets:
    """Return the targets of a prefill pool, whose rate is known as its work is counted in milliseconds of prefill.

    Its own replicas do not know which requests were in time.
    """
    return replace(targets, first_work_per_s=WORK_PER_S, slo_share=0.0)
