"""Sums the reports of one model's gateways and replicas up to `FleetMetrics` as of one moment.

Gateways report at different moments. If their last reports were summed, the totals would jump by half a second's work
at a time, and a policy that compares seconds would take these jumps for changes of the load. So the sums are as of the
latest moment that every gateway's reports reach, and between two reports of a gateway its totals are interpolated.
"""

from collections import deque
from dataclasses import dataclass, field
from math import inf

from cluster.autoscaling.metrics.figures import GatewayFigures, ReplicaFigures
from cluster.autoscaling.metrics.metrics import FleetMetrics

LATE_S = 1.5
"""Seconds of silence above which a gateway is not waited for: its totals stand still until it reports again."""
FORGET_S = 3.0
"""Seconds of silence above which a gateway counts as gone, and so do the requests that waited there."""
REPLICA_FORGET_S = 5.0
"""Seconds of silence above which a replica does not count as ready; as long as a lease in the directory."""
LONGEST_START_S = 1800.0
"""Seconds from order to ready above which the replica must have waited for a free machine. That says nothing about the
next start, so only the time since its process started counts."""
_POINTS = 8
"""Number of a gateway's last reports that are kept."""

_Counters = tuple[float, float, float, float, float, float, float]
"""A gateway's totals: the offered requests, their work, its squares, the dispatched work, the seconds of prefill, the
requests that were to have some latency, and those of them that had it."""
_NO_COUNTERS: _Counters = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(slots=True)
class _Gateway:
    """One gateway's last reports.

    Attributes:
        last: the last report.
        heard_s: when the last report came, by the autoscaler's clock.
        offset_s: seconds to add to the gateway's clock to get the autoscaler's: the least difference between sending
            and receiving so far, which is that of the fastest report.
        points: pairs of a report's time, by the autoscaler's clock, and its totals, oldest first.
        base: the totals of the first report, which are subtracted from all others.
    """

    last: GatewayFigures
    heard_s: float
    offset_s: float = inf
    points: deque[tuple[float, _Counters]] = field(default_factory=lambda: deque(maxlen=_POINTS))
    base: _Counters = _NO_COUNTERS

    def hear(self, figures: GatewayFigures, sent_s: float, now_s: float) -> None:
        self.offset_s = min(self.offset_s, now_s - sent_s)
        at_s = sent_s + self.offset_s
        if self.points and at_s <= self.points[-1][0]:
            return  # a later report has come before this one
        counters = _counters(figures)
        if not self.points:
            self.base = counters  # only what comes after the first report counts
        self.points.append((at_s, counters))
        self.last = figures
        self.heard_s = now_s

    def since_base(self, at_s: float) -> _Counters:
        """Return how much the totals grew from the first report until `at_s`, interpolated between reports."""
        after = self.points[-1]
        if at_s >= after[0]:
            return _difference(after[1], self.base)
        for before in reversed(self.points):
            if before[0] <= at_s:
                share = (at_s - before[0]) / (after[0] - before[0])
                step = _difference(after[1], before[1])
                return _sum(_difference(before[1], self.base), _scaled(step, share))
            after = before
        return _difference(self.points[0][1], self.base)


@dataclass(slots=True)
class _Replica:
    figures: ReplicaFigures
    heard_s: float


class FleetFigures:
    """The latest reports of one model's gateways and replicas.

    Times are monotonic seconds of the autoscaler's own clock, except `sent_s`.
    """

    def __init__(self) -> None:
        self._gateways: dict[str, _Gateway] = {}
        self._replicas: dict[str, _Replica] = {}
        self._known: dict[str, float] = {}
        self._retired = _NO_COUNTERS
        self._orders: deque[float] = deque()
        self._starts_s: list[float] = []
        self._as_of_s = -inf
        self._prefill_s = 0.0

    def hear_gateway(self, gateway_id: str, figures: GatewayFigures, sent_s: float, now_s: float) -> None:
        """Take a gateway's report.

        Args:
            gateway_id: the gateway's id.
            figures: its figures.
            sent_s: when it sent them, monotonic seconds of its own clock.
            now_s: the time.
        """
        gateway = self._gateways.get(gateway_id)
        if gateway is None:
            gateway = self._gateways[gateway_id] = _Gateway(figures, now_s)
        gateway.hear(figures, sent_s, now_s)

    def hear_replica(self, replica_id: str, figures: ReplicaFigures, now_s: float) -> None:
        """Take the report of a replica that takes requests."""
        if replica_id not in self._known:
            self._started(figures, now_s)
        self._known[replica_id] = now_s
        self._replicas[replica_id] = _Replica(figures, now_s)

    def replica_left(self, replica_id: str) -> None:
        """Stop counting a replica as ready, as it takes no more requests."""
        self._replicas.pop(replica_id, None)

    def ordered(self, replicas: int, now_s: float) -> None:
        """Note that the target changed, to measure how many seconds the ordered replicas take to start.

        Args:
            replicas: number of replicas ordered; below 0: fewer are wanted, and the latest orders are taken back.
            now_s: the time.
        """
        self._orders.extend([now_s] * replicas)
        for _ in range(min(-replicas, len(self._orders))):
            self._orders.pop()

    def advance(self, now_s: float) -> None:
        """Forget gateways and replicas that have been silent for too long."""
        for gateway_id in [key for key, seen in self._gateways.items() if now_s - seen.heard_s > FORGET_S]:
            gateway = self._gateways.pop(gateway_id)
            self._retired = _sum(self._retired, gateway.since_base(inf))
        for replica_id in [key for key, seen in self._replicas.items() if now_s - seen.heard_s > REPLICA_FORGET_S]:
            del self._replicas[replica_id]
        # A replica stays known for longer, so that after a silence its start is not counted again.
        for replica_id in [key for key, heard_s in self._known.items() if now_s - heard_s > LONGEST_START_S]:
            del self._known[replica_id]

    def as_of_s(self, now_s: float) -> float | None:
        """Return the latest moment that all gateways' reports reach; None: it is that of the last `metrics`."""
        self.advance(now_s)
        told_s = [seen.points[-1][0] for seen in self._gateways.values() if now_s - seen.heard_s <= LATE_S]
        as_of_s = min(told_s, default=-inf)
        return as_of_s if as_of_s > self._as_of_s else None

    def metrics(self, target: int, as_of_s: float) -> FleetMetrics:
        """Return the fleet's metrics as of one moment.

        Args:
            target: replicas asked for.
            as_of_s: that moment, as the method `as_of_s` returned it.
        """
        gateways = self._gateways.values()
        replicas = [seen.figures for seen in self._replicas.values()]
        ready = len(replicas)
        counted = self._retired
        for gateway in gateways:
            counted = _sum(counted, gateway.since_base(as_of_s))
        requests, work, squared, dispatched, prefill_s, slo_requests, slo_met = counted
        elapsed_s = as_of_s - self._as_of_s
        prefill_share = max(0.0, prefill_s - self._prefill_s) / (max(1, ready) * elapsed_s)
        self._as_of_s, self._prefill_s = as_of_s, prefill_s
        starts_s, self._starts_s = tuple(self._starts_s), []
        waits_s = [
            seen.waiting_tokens / seen.prefill_tokens_per_s if seen.prefill_tokens_per_s > 0 else 0.0
            for seen in replicas
        ]
        shares = (
            prefill_share,
            max((gateway.last.occupancy for gateway in gateways), default=0.0),
            sum(seen.kv_usage for seen in replicas) / max(1, ready),
        )
        return FleetMetrics(
            ready=ready,
            starting=max(0, target - ready),
            waiting_requests=sum(gateway.last.waiting_requests for gateway in gateways),
            waiting_work=sum(gateway.last.waiting_work for gateway in gateways),
            engine_waiting_work=float(sum(seen.waiting_tokens for seen in replicas)),
            engine_wait_s=min(waits_s, default=0.0),
            in_flight=sum(seen.in_flight for seen in replicas),
            utilisation=min(1.0, max(shares)) if ready else 0.0,
            offered_requests=round(requests),
            offered_work=work,
            offered_work_squared=squared,
            dispatched_work=dispatched,
            slo_requests=slo_requests,
            slo_met=slo_met,
            start_durations_s=starts_s,
        )

    def _started(self, figures: ReplicaFigures, now_s: float) -> None:
        """Keep the seconds that a replica's start took: from its order, or as it says itself if that is longer.

        Without an order, as in a rolling update, only what the replica says counts.
        """
        from_order_s = now_s - self._orders.popleft() if self._orders else 0.0
        taken_s = max(figures.start_s, from_order_s if from_order_s <= LONGEST_START_S else 0.0)
        if taken_s > 0:
            self._starts_s.append(taken_s)

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        for gateway_id, gateway in self._gateways.items():
            times_s = [at_s for at_s, _ in gateway.points]
            if not times_s or times_s != sorted(set(times_s)):
                raise AssertionError(f"the reports of {gateway_id} are out of order: {times_s}")
        if not self._replicas.keys() <= self._known.keys():
            raise AssertionError("a ready replica is not known")
        if list(self._orders) != sorted(self._orders):
            raise AssertionError("orders are out of order")


def _counters(figures: GatewayFigures) -> _Counters:
    return (
        float(figures.offered_requests),
        figures.offered_work,
        figures.offered_work_squared,
        figures.dispatched_work,
        figures.prefill_s,
        float(figures.slo_requests),
        float(figures.slo_met),
    )


def _sum(one: _Counters, other: _Counters) -> _Counters:
    return tuple(a + b for a, b in zip(one, other, strict=True))  # type: ignore[return-value] # seven totals, too


def _difference(one: _Counters, other: _Counters) -> _Counters:
    return _sum(one, _scaled(other, -1.0))


def _scaled(counters: _Counters, factor: float) -> _Counters:
    return tuple(value * factor for value in counters)  # type: ignore[return-value] # seven totals in, seven out
