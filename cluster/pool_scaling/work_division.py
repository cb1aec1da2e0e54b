"""Divides the figures that gateways send of a model among its pools that generate answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cluster.autoscaling.ewma import kept
from cluster.autoscaling.metrics.figures import GatewayFigures
from cluster.pool_scaling.shares import whole_shares

MEMORY_S = 10.0
"""Seconds after which the requests that pools took have faded to a third, for their shares of the dispatched work.

Replicas report twice a second, gateways too but at other moments: over ten seconds that no longer matters.
"""
FORGET_S = 60.0
"""Seconds of silence after which the last totals of a gateway or a replica are forgotten."""


class TakenRequests:
    """The requests that the replicas of each pool took lately."""

    def __init__(self) -> None:
        self._taken: dict[str, float] = {}
        self._last: dict[str, tuple[int, float]] = {}
        self._at_s = 0.0

    def hear(self, replica_id: str, pool: str, accepted: int, now_s: float) -> None:
        """Take a replica's count of the requests it ever took; the first count of a replica is what others add to."""
        before, _ = self._last.get(replica_id, (accepted, now_s))
        self._last = {key: seen for key, seen in self._last.items() if now_s - seen[1] <= FORGET_S}
        self._last[replica_id] = accepted, now_s
        keep = kept(max(0.0, now_s - self._at_s), MEMORY_S)
        self._at_s = max(self._at_s, now_s)
        self._taken = {name: taken * keep for name, taken in self._taken.items()}
        self._taken[pool] = self._taken.get(pool, 0.0) + max(0, accepted - before)

    def shares(self, pools: Sequence[str]) -> list[float] | None:
        """Return each pool's share of the requests taken; None: there were hardly any."""
        taken = [self._taken.get(pool, 0.0) for pool in pools]
        return [each / sum(taken) for each in taken] if sum(taken) >= 1.0 else None


@dataclass(slots=True)
class _Totals:
    """One gateway's last totals, and what of them has been given to each pool."""

    figures: GatewayFigures
    sent_s: float
    heard_s: float
    given: list["_Given"] = field(default_factory=list)


@dataclass(slots=True)
class _Given:
    """The totals that one pool was given of one gateway's."""

    offered_requests: float = 0.0
    offered_work: float = 0.0
    offered_work_squared: float = 0.0
    dispatched_work: float = 0.0
    prefill_s: float = 0.0
    slo_requests: float = 0.0
    slo_met: float = 0.0


class WorkDivision:
    """Divides each gateway's figures among pools, whose number is fixed.

    What was offered and what waits is divided by the shares that the pools are to have, and what was dispatched by the
    shares that they had. Totals are divided as they grow, so a change of the shares does not change the past.

    Args:
        pools: number of pools.
    """

    def __init__(self, pools: int) -> None:
        self._pools = pools
        self._gateways: dict[str, _Totals] = {}

    def divide(  # noqa: PLR0913 - one report, and the two ways to divide it
        self,
        gateway_id: str,
        figures: GatewayFigures,
        sent_s: float,
        now_s: float,
        *,
        wanted: Sequence[float],
        taken: Sequence[float],
    ) -> list[GatewayFigures]:
        """Return each pool's part of a gateway's report; none if a later report has come before it.

        Args:
            gateway_id: the gateway's id.
            figures: its figures.
            sent_s: when it sent them, monotonic seconds of its own clock.
            now_s: the time.
            wanted: each pool's share of the work offered; together 1.
            taken: each pool's share of the work dispatched; together 1.
        """
        for gone in [key for key, seen in self._gateways.items() if now_s - seen.heard_s > FORGET_S]:
            del self._gateways[gone]
        seen = self._gateways.get(gateway_id)
        if seen is None:
            seen = _Totals(figures, sent_s, now_s, [_Given() for _ in range(self._pools)])
            self._gateways[gateway_id] = seen
        elif sent_s <= seen.sent_s:
            return []
        before, seen.figures, seen.sent_s, seen.heard_s = seen.figures, figures, sent_s, now_s
        for given, share, had in zip(seen.given, wanted, taken, strict=True):
            given.offered_requests += share * (figures.offered_requests - before.offered_requests)
            given.offered_work += share * (figures.offered_work - before.offered_work)
            # Requests sent to one of several pools by chance are a share of them, and so are their squares.
            given.offered_work_squared += share * (figures.offered_work_squared - before.offered_work_squared)
            given.dispatched_work += had * (figures.dispatched_work - before.dispatched_work)
            given.prefill_s += had * (figures.prefill_s - before.prefill_s)
            given.slo_requests += had * (figures.slo_requests - before.slo_requests)
            given.slo_met += had * (figures.slo_met - before.slo_met)
        waiting = whole_shares(figures.waiting_requests, wanted)
        return [
            GatewayFigures(
                waiting_requests=requests,
                waiting_work=share * figures.waiting_work,
                offered_requests=round(given.offered_requests),
                offered_work=given.offered_work,
                offered_work_squared=given.offered_work_squared,
                dispatched_work=given.dispatched_work,
                prefill_s=given.prefill_s,
                occupancy=figures.occupancy,
                slo_requests=round(given.slo_requests),
                slo_met=round(given.slo_met),
            )
            for given, share, requests in zip(seen.given, wanted, waiting, strict=True)
        ]
