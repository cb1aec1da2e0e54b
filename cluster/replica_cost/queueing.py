"""How long requests wait for one another, and how large the largest of several draws is: pure mathematics."""

import math
from typing import Final

_NEGLIGIBLE: Final = 1e-9


def queue_wait_s(each_s: float, busy: float, spread: float, share: float | None, servers: int = 1) -> float:
    """Return the seconds that a request waits in a queue: the mean, or what `share` of the requests do not exceed.

    The mean is that of an M/D/1 queue. Waits of an M/G/1 queue are nearly exponential beyond zero, with the mean that
    Pollaczek and Khinchine's formula gives; several servers work a common queue off as many times faster.

    Args:
        each_s: mean seconds of work of a request.
        busy: share of the time for which the servers work; from 1 on the wait is infinite.
        spread: standard deviation of that work divided by its mean.
        share: the share; None: the mean.
        servers: servers that work the queue off.
    """
    if busy >= 1:
        return math.inf
    if share is None:
        return each_s * busy / (2 * (1 - busy))
    mean_if_any_s = each_s * (1 + spread**2) / (2 * (1 - busy) * servers)
    return mean_if_any_s * max(0.0, math.log(max(busy, 1e-300) / (1 - share)))


def mean_of_largest(mean: float, draws: int) -> float:
    """Return the mean of the largest of `draws` independent Poisson draws of mean `mean`."""
    probability = math.exp(-mean)
    at_most, total, count = probability, 0.0, 0
    while True:
        above = 1 - min(1.0, at_most) ** draws
        total += above
        if above < _NEGLIGIBLE or (count > mean and probability == 0.0):
            return total
        count += 1
        probability *= mean / count
        at_most += probability
