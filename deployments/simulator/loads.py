"""Makes the traffic of simulated fleets. All chance comes from a seeded generator, so a run can be repeated exactly."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, pi
from random import Random

from deployments.simulator.trace import TraceRequest
from router.flow_control.priority import Priority

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class SimRequest:
    """One request.

    Attributes:
        at_s: when it comes, seconds from the start of the run.
        prompt_tokens: tokens to prefill.
        output_tokens: tokens to generate.
        tenant: name of its tenant.
        priority: its class.
    """

    at_s: float
    prompt_tokens: int
    output_tokens: int
    tenant: str = "one"
    priority: Priority = Priority.NORMAL


@dataclass(frozen=True, slots=True)
class Sizes:
    """The lengths of prompts and answers, both log-normal, as in chat traffic.

    Attributes:
        prompt_tokens: mean length of prompts, in tokens.
        output_tokens: mean length of answers, in tokens.
        spread: standard deviation of the logarithms of both.
        most_tokens: longest prompt and longest answer, in tokens; longer ones are cut.
    """

    prompt_tokens: float = 2_000.0
    output_tokens: float = 250.0
    spread: float = 0.8
    most_tokens: int = 32_000

    def draw(self, rng: Random) -> tuple[int, int]:
        """Return one request's prompt and output tokens, 1 or more each."""
        shift = -(self.spread**2) / 2  # the mean of a log-normal is exp(mu + sigma² / 2)
        prompt = self.prompt_tokens * rng.lognormvariate(shift, self.spread)
        output = self.output_tokens * rng.lognormvariate(shift, self.spread)
        return min(self.most_tokens, 1 + int(prompt)), min(self.most_tokens, 1 + int(output))


def poisson(
    per_s: Callable[[float], float], most_per_s: float, until_s: float, sizes: Sizes, rng: Random
) -> list[SimRequest]:
    """Return requests that arrive as a Poisson process whose rate changes over time, drawn by thinning.

    Args:
        per_s: requests a second, by the time in seconds.
        most_per_s: a bound that `per_s` never exceeds.
        until_s: length of the load, seconds.
        sizes: the requests' lengths.
        rng: draws everything.
    """
    requests: list[SimRequest] = []
    at_s = rng.expovariate(most_per_s)
    while at_s < until_s:
        if rng.random() * most_per_s < per_s(at_s):
            requests.append(SimRequest(at_s, *sizes.draw(rng)))
        at_s += rng.expovariate(most_per_s)
    return requests


def step(low_per_s: float, factor: float, sizes: Sizes, rng: Random) -> list[SimRequest]:
    """Return an hour of requests: 10 minutes of a low load, 20 of `factor` times that, and 30 of the low one again."""
    up_s, down_s, end_s = 600.0, 1800.0, 3600.0

    def per_s(at_s: float) -> float:
        return low_per_s * factor if up_s <= at_s < down_s else low_per_s

    return poisson(per_s, low_per_s * factor, end_s, sizes, rng)


def noisy(curve: Callable[[float], float], noise: float, until_s: float, sizes: Sizes, rng: Random) -> list[SimRequest]:
    """Return requests whose rate follows a curve with noise: each minute's rate is a random multiple of the curve.

    Args:
        curve: requests a second, by the time in seconds.
        noise: standard deviation of that multiple, which is normal with mean 1 and at least 0.
        until_s: length of the load, seconds.
        sizes: the requests' lengths.
        rng: draws everything.
    """
    factors = [max(0.0, rng.gauss(1.0, noise)) for _ in range(1 + int(until_s / 60.0))]
    most_per_s = max(curve(60.0 * minute) for minute in range(len(factors))) * max(factors) * 1.05
    return poisson(lambda at_s: curve(at_s) * factors[int(at_s / 60.0)], most_per_s, until_s, sizes, rng)


def bursty_day(mean_per_s: float, swing: float, extra_per_s: float, sizes: Sizes, rng: Random) -> list[SimRequest]:
    """Return a day that rises and falls as a sine, with bursts on it, 1 to 4 minutes long and about 15 minutes apart.

    Args:
        mean_per_s: requests a second over the day, without the bursts.
        swing: how far it rises and falls, as a share of that mean.
        extra_per_s: requests a second that a burst adds on average; half as many to half as many again.
        sizes: the requests' lengths.
        rng: draws everything.
    """
    spans: list[tuple[float, float, float]] = []
    at_s = rng.expovariate(1 / 900.0)
    while at_s < DAY_S:
        length_s = rng.uniform(60.0, 240.0)
        spans.append((at_s, at_s + length_s, extra_per_s * rng.uniform(0.5, 1.5)))
        at_s += length_s + rng.expovariate(1 / 900.0)
    starts_s = [start for start, _, _ in spans]

    def per_s(at_s: float) -> float:
        latest = bisect_right(starts_s, at_s) - 1
        extra = spans[latest][2] if latest >= 0 and at_s < spans[latest][1] else 0.0
        return mean_per_s * (1.0 - swing * cos(2 * pi * at_s / DAY_S)) + extra

    return poisson(per_s, mean_per_s * (1.0 + swing) + 1.5 * extra_per_s, DAY_S, sizes, rng)


class Bursts:
    """A low load with bursts of 2 to 5 times as much, 1 to 4 minutes long and on average 15 minutes apart.

    Args:
        low_per_s: requests a second between bursts.
        until_s: length of the load, seconds.
        rng: draws everything.
    """

    def __init__(self, low_per_s: float, until_s: float, rng: Random) -> None:
        self._low_per_s = low_per_s
        self._until_s = until_s
        self._rng = rng
        self._spans: list[tuple[float, float, float]] = []
        at_s = rng.expovariate(1 / 900.0)
        while at_s < until_s:
            length_s = rng.uniform(60.0, 240.0)
            self._spans.append((at_s, at_s + length_s, rng.uniform(2.0, 5.0)))
            at_s += length_s + rng.expovariate(1 / 900.0)

    def per_s(self, at_s: float) -> float:
        """Return the requests a second that are drawn at a time."""
        return self._low_per_s * next((factor for start, end, factor in self._spans if start <= at_s < end), 1.0)

    def requests(self, sizes: Sizes) -> list[SimRequest]:
        """Draw the requests."""
        return poisson(self.per_s, self._low_per_s * 5.0, self._until_s, sizes, self._rng)


def bursts(low_per_s: float, until_s: float, sizes: Sizes, rng: Random) -> list[SimRequest]:
    """Return the requests of `Bursts`."""
    return Bursts(low_per_s, until_s, rng).requests(sizes)


def recorded(trace: Sequence[TraceRequest]) -> list[SimRequest]:
    """Return a recorded trace's requests. Each prompt is prefilled whole: the routing benchmark is about caches."""
    return [
        SimRequest(request.timestamp / 1000.0, request.input_length, max(1, request.output_length)) for request in trace
    ]
