"""Which share of a model's work each pool that generates answers is to take."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PoolCapacity:
    """What one pool can do.

    Attributes:
        replicas: replicas asked for, ready or not, but for those that should have been ready long ago: machines for
            them are lacking.
        maximum: most replicas that may be asked for.
        work_per_s: work a second of one replica at its limit; 0: not known.
    """

    replicas: int
    maximum: int
    work_per_s: float


def capacity_shares(pools: Sequence[PoolCapacity], *, is_waiting: bool) -> list[float]:
    """Return each pool's share of the work, in proportion to its capacity; together 1.

    The capacity is that of the replicas asked for. With shares in proportion to it all pools are equally loaded, so
    they grow and shrink by the same factor; one that is at its maximum keeps its capacity, and the others grow by what
    it lacks. A rate that is not known is taken to be the mean of the known ones.

    A pool without replicas takes no work while the others suffice. Where requests wait though the others are at their
    maxima, the first pool without replicas is given the share of one replica, which starts it. If no pool has any
    replica, the first takes everything.

    Args:
        pools: the pools, at least one, in the cluster file's order.
        is_waiting: requests wait in the gateways.
    """
    known = [pool.work_per_s for pool in pools if pool.work_per_s > 0]
    usual = sum(known) / len(known) if known else 1.0
    counted = [pool.replicas for pool in pools]
    may_grow = any(0 < pool.replicas < pool.maximum for pool in pools)
    if 0 in counted and not may_grow and (is_waiting or not any(counted)):
        counted[counted.index(0)] = 1
    capacities = [number * (pool.work_per_s or usual) for number, pool in zip(counted, pools, strict=True)]
    return [capacity / sum(capacities) for capacity in capacities]


def whole_shares(number: int, shares: Sequence[float]) -> list[int]:
    """Return `number` divided by `shares` into whole numbers that add up to it; the largest remainders round up."""
    exact = [number * share for share in shares]
    whole = [int(value) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda position: whole[position] - exact[position])
    for position in by_remainder[: max(0, number - sum(whole))]:
        whole[position] += 1
    return whole
