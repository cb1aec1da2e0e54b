"""One model's figures, put together from what its gateways and replicas tell: `FleetMetrics` as of one moment.

Gateways tell at different moments. Summed up as they come, their counters would jump by half a second's work at a time,
and a policy that compares seconds would take that for noise of the load. So the sums are as of the last moment that
every gateway has told of, and a gateway's counters between two of its reports are interpolated.
"""

from collections import deque
from dataclasses import dataclass, field
from math import inf

from cluster.autoscaling.figures import GatewayFigures, ReplicaFigures
from cluster.autoscaling.metrics import FleetMetrics

LATE_S = 1.5
"""A gateway unheard of for so long holds up nobody: its counters stand still until it tells again."""
FORGET_S = 3.0
"""A gateway unheard of for so long is gone, and what waited there with it."""
REPLICA_FORGET_S = 5.0
"""A replica unheard of for so long is not ready: as long as a lease in the directory."""
LONGEST_START_S = 1800.0
"""A start that took longer waited for a free machine, which says nothing of the next: its process' own time counts."""
_POINTS = 8

_Counters = tuple[float, float, float, float, float]
_NO_COUNTERS: _Counters = (0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(slots=True)
class _Gateway:
    """One gateway's last reports.

    Attributes:
        last: the last one.
        heard_s: when it came.
        offset_s: from the gateway's clock to ours: the least that was seen, of the report with the shortest way.
        points: `(at_s, counters)` by our clock, oldest first.
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
            return  # overtaken by a later report
        counters = _counters(figures)
        if not self.points:
            self.base = counters  # what came before we listened is no news
        self.points.append((at_s, counters))
        self.last = figures
        self.heard_s = now_s

    def since_base(self, at_s: float) -> _Counters:
        """Return what has been counted from its first report until `at_s`."""
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
    """What is known of one model's fleet. Times are by the listener's own clock, except `sent_s`."""

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
        """Take a gateway's report; `sent_s` is by its own clock."""
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
        """A replica takes no more requests: it is stopping."""
        self._replicas.pop(replica_id, None)

    def ordered(self, replicas: int, now_s: float) -> None:
        """So many more replicas were asked for; below 0: so many fewer, of those that have not come the last ones."""
        self._orders.extend([now_s] * replicas)
        for _ in range(min(-replicas, len(self._orders))):
            self._orders.pop()

    def advance(self, now_s: float) -> None:
        """Forget who has been silent for too long."""
        for gateway_id in [key for key, seen in self._gateways.items() if now_s - seen.heard_s > FORGET_S]:
            gateway = self._gateways.pop(gateway_id)
            self._retired = _sum(self._retired, gateway.since_base(inf))
        for replica_id in [key for key, seen in self._replicas.items() if now_s - seen.heard_s > REPLICA_FORGET_S]:
            del self._replicas[replica_id]
        # Once told, a replica's start is not told again, even if it was silent for a while.
        for replica_id in [key for key, heard_s in self._known.items() if now_s - heard_s > LONGEST_START_S]:
            del self._known[replica_id]

    def as_of_s(self, now_s: float) -> float | None:
        """Return up to when all gateways have told; None: nothing new since the last `metrics`."""
        self.advance(now_s)
        told_s = [seen.points[-1][0] for seen in self._gateways.values() if now_s - seen.heard_s <= LATE_S]
        as_of_s = min(told_s, default=-inf)
        return as_of_s if as_of_s > self._as_of_s else None

    def metrics(self, target: int, as_of_s: float) -> FleetMetrics:
        """Return the fleet as of a time that `as_of_s` gave, for a target of so many replicas."""
        gateways = self._gateways.values()
        replicas = [seen.figures for seen in self._replicas.values()]
        ready = len(replicas)
        counted = self._retired
        for gateway in gateways:
            counted = _sum(counted, gateway.since_base(as_of_s))
        requests, work, squared, dispatched, prefill_s = counted
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
            start_durations_s=starts_s,
        )

    def _started(self, figures: ReplicaFigures, now_s: float) -> None:
        """Tell how long a start took from its order on; without an order, as in a rolling update, by itself."""
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
    )


def _sum(one: _Counters, other: _Counters) -> _Counters:
    return (one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3], one[4] + other[4])


def _difference(one: _Counters, other: _Counters) -> _Counters:
    return _sum(one, _scaled(other, -1.0))


def _scaled(counters: _Counters, factor: float) -> _Counters:
    return tuple(value * factor for value in counters)  # type: ignore[return-value] # five in, five out
