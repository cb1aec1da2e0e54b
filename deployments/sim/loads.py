"""Traffic for simulated fleets: seeded, so each run is the same to the digit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, pi
from random import Random

from deployments.sim.trace import TraceRequest
from router.admission.priority import Priority


@dataclass(frozen=True, slots=True)
class SimRequest:
    """One request.

    Attributes:
        at_s: when it comes.
        prompt_tokens: to be prefilled.
        output_tokens: to be generated.
        tenant: whose it is.
        priority: its class.
    """

    at_s: float
    prompt_tokens: int
    output_tokens: int
    tenant: str = "one"
    priority: Priority = Priority.NORMAL


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long prompts and answers are: both log-normal, as chat traffic is.

    Attributes:
        prompt_tokens: mean.
        output_tokens: mean.
        spread: standard deviation of the logarithms.
        most_tokens: cut off there.
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
    """Return requests that come at random with the rate `per_s(t)`, which never exceeds `most_per_s` (thinning)."""
    requests: list[SimRequest] = []
    at_s = rng.expovariate(most_per_s)
    while at_s < until_s:
        if rng.random() * most_per_s < per_s(at_s):
            requests.append(SimRequest(at_s, *sizes.draw(rng)))
        at_s += rng.expovariate(most_per_s)
    return requests


def step(low_per_s: float, factor: float, sizes: Sizes, rng: Random) -> list[SimRequest]:
    """Return ten minutes of a low load, twenty of `factor` times that, and thirty of the low one again."""
    up_s, down_s, end_s = 600.0, 1800.0, 3600.0

    def per_s(at_s: float) -> float:
        return low_per_s * factor if up_s <= at_s < down_s else low_per_s

    return poisson(per_s, low_per_s * factor, end_s, sizes, rng)


def sine_day(low_per_s: float, high_per_s: float, noise: float, sizes: Sizes, rng: Random) -> list[SimRequest]:
    """Return a day that swings between two rates, lowest at midnight, with noise that lasts a minute at a time.

    Args:
        low_per_s: at night.
        high_per_s: at noon.
        noise: standard deviation of the minutes' rates around the curve, as a share of it.
        sizes: of the requests.
        rng: draws everything.
    """
    day_s = 86_400.0
    factors = [max(0.0, rng.gauss(1.0, noise)) for _ in range(int(day_s / 60.0))]

    def per_s(at_s: float) -> float:
        curve = low_per_s + (high_per_s - low_per_s) * 0.5 * (1.0 - cos(2 * pi * at_s / day_s))
        return curve * factors[int(at_s / 60.0)]

    return poisson(per_s, high_per_s * max(factors), day_s, sizes, rng)


def bursts(low_per_s: float, until_s: float, sizes: Sizes, rng: Random) -> list[SimRequest]:
    """Return a low load with bursts of 2 to 5 times it, of one to four minutes, about every quarter of an hour."""
    spans: list[tuple[float, float, float]] = []
    at_s = rng.expovariate(1 / 900.0)
    while at_s < until_s:
        length_s = rng.uniform(60.0, 240.0)
        spans.append((at_s, at_s + length_s, rng.uniform(2.0, 5.0)))
        at_s += length_s + rng.expovariate(1 / 900.0)

    def per_s(at_s: float) -> float:
        return low_per_s * next((factor for start, end, factor in spans if start <= at_s < end), 1.0)

    return poisson(per_s, low_per_s * 5.0, until_s, sizes, rng)


def recorded(trace: Sequence[TraceRequest]) -> list[SimRequest]:
    """Return a recorded trace's requests, each prefilled whole: prefix caches are the routing benchmark's subject."""
    return [
        SimRequest(request.timestamp / 1000.0, request.input_length, max(1, request.output_length)) for request in trace
    ]
