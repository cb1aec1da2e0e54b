"""Tenants' rate limits: bursts, and waits that come true."""

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf
from random import Random
from typing import Any

import pytest

from router.flow_control.limits import TenantLimits
from router.flow_control.tenant_limits.rate_limits import RateLimits

STEP_S = 0.05


def limits(**of_ann: Any) -> RateLimits:  # noqa: ANN401 - the fields of TenantLimits
    """Return the limits of one tenant, ann."""
    return RateLimits({"ann": TenantLimits(**of_ann)}, 0.0)


def test_a_burst_is_ten_seconds_of_the_limit() -> None:
    """After a pause a sixth of what a minute allows may come at once, and then one each period."""
    rates = limits(requests_per_minute=60.0)
    assert [rates.take("ann", 1.0, 0.0) for _ in range(11)] == [0.0] * 10 + [1.0]
    assert rates.take("ann", 1.0, 1.0) == 0.0
    assert rates.take("ann", 1.0, 1.0) == 1.0


def test_a_burst_can_be_set() -> None:
    """A tenant's own burst counts: as many may come at once, of requests and of tokens."""
    rates = limits(requests_per_minute=60.0, requests_burst=3.0, tokens_per_minute=6000.0, tokens_burst=500.0)
    assert [rates.take("ann", 100.0, 0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]
    rates = limits(tokens_per_minute=6000.0, tokens_burst=500.0)
    assert [rates.take("ann", 250.0, 0.0) for _ in range(2)] == [0.0, 0.0]
    assert rates.take("ann", 250.0, 0.0) > 0.0


def test_a_request_beyond_the_burst_is_taken_from_a_full_bucket() -> None:
    """A request with more work than the burst is not refused for ever; the next one waits until its debt is paid."""
    rates = limits(tokens_per_minute=600.0)
    assert rates.take("ann", 1000.0, 0.0) == 0.0
    rates.settle("ann", 1000.0, 1000.0, 0.0, 0.0)
    assert rates.take("ann", 50.0, 0.0) == pytest.approx(95.0)
    assert rates.take("ann", 50.0, 94.9) > 0.0
    assert rates.take("ann", 50.0, 95.0) == 0.0


def test_limits_change_while_buckets_keep_their_level() -> None:
    """Other limits hold at once; a limit that stays the same keeps what is used up of it."""
    rates = limits(requests_per_minute=60.0, requests_burst=1.0)
    assert rates.take("ann", 1.0, 0.0) == 0.0
    same, other = TenantLimits(requests_per_minute=60.0, requests_burst=1.0), TenantLimits(requests_per_minute=6.0)
    rates.set_tenants({"ann": same, "bob": other}, 0.0)
    assert rates.take("ann", 1.0, 0.0) == 1.0
    assert rates.take("bob", 1.0, 0.0) == 0.0
    rates.set_tenants({}, 0.0)
    assert rates.take("ann", 1.0, 0.0) == 0.0
    rates.settle("bob", 1.0, 2.0, 0.0, 0.1)  # a request of a tenant that has left ends


def test_the_view_says_what_may_come_now() -> None:
    """The limit, what remains of a burst, and when it is whole again; None for a limit that there is not."""
    rates = limits(requests_per_minute=60.0)
    for _ in range(4):
        rates.take("ann", 1.0, 0.0)
    requests, tokens = rates.view("ann", 1.0)
    assert requests is not None
    assert (requests.per_minute, requests.remaining, requests.full_s) == (60.0, 7.0, 3.0)
    assert tokens is None
    assert rates.view("bob", 0.0) == (None, None)


@dataclass
class Load:
    """Requests that come to a limit, in virtual time.

    Attributes:
        every_s: seconds from one request to the next, on average.
        estimate: estimated work of each.
        real: returns its real work.
        runs_s: returns how long it runs, in seconds.
    """

    every_s: float
    estimate: float
    real: Callable[[Random], float]
    runs_s: Callable[[Random], float]


def told_and_true(load: Load, of_ann: dict[str, float], seed: int) -> tuple[float, float]:
    """Run a load until one is refused once some have ended; return the seconds it was told, and the true ones."""
    rng, rates, now_s = Random(seed), limits(**of_ann), 0.0
    running: list[tuple[float, float]] = []
    ended = 0

    def end_due() -> None:
        nonlocal ended
        while running and running[0][0] <= now_s:
            _, runs_s = heappop(running)
            rates.settle("ann", load.estimate, load.real(rng), now_s - runs_s, now_s)
            ended += 1

    refused_s = inf
    told_s = 0.0
    while True:
        now_s += STEP_S if refused_s < inf else rng.expovariate(1 / load.every_s)
        end_due()
        if refused_s < inf:
            requests, tokens = rates.view("ann", now_s)
            if all(view is None or view.remaining >= need for view, need in ((requests, 1), (tokens, load.estimate))):
                return told_s, now_s - refused_s
            continue
        wait_s = rates.take("ann", load.estimate, now_s)
        if wait_s == 0.0:
            runs_s = load.runs_s(rng)
            heappush(running, (now_s + runs_s, runs_s))
        elif ended > 20 or wait_s > 20:
            refused_s, told_s = now_s, wait_s


def between(low: float, high: float) -> Callable[[Random], float]:
    """Return a function that draws a number between two."""
    return lambda rng: rng.uniform(low, high)


LOADS = {
    "answers far shorter than estimated": Load(0.02, 1000.0, between(20, 60), between(4, 6)),
    "answers as estimated": Load(0.05, 100.0, between(90, 110), between(0.5, 1.5)),
    "answers longer than estimated": Load(0.05, 50.0, between(90, 110), between(0.2, 1.0)),
}


@pytest.mark.parametrize("name", LOADS)
def test_the_time_told_comes_true(name: str) -> None:
    """A refused client is told about the time after which the same request is taken, whatever the estimates were."""
    pairs = [told_and_true(LOADS[name], {"tokens_per_minute": 12_000.0}, seed) for seed in range(30)]
    off = sorted(abs(told - true) / max(1.0, true) for told, true in pairs)
    assert off[len(off) // 2] < 0.35, pairs
    assert all(told <= 2.5 * true + 1.5 for told, true in pairs), pairs
