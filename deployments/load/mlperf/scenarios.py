"""MLPerf's scenarios, and what a run of one is asked for."""

from dataclasses import dataclass
from typing import Final

from deployments.load.figures.measures import SloLimits
from deployments.load.sessions.live_stream import LiveStream


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario.

    Attributes:
        kind: LoadGen's own name of it.
        slo: its limits by MLPerf Inference 5.1 for DeepSeek-R1, in the 99th percentile; other models have others.
    """

    kind: str
    slo: SloLimits


SCENARIOS: Final = {
    "offline": Scenario("Offline", SloLimits()),
    "server": Scenario("Server", SloLimits(2.0, 0.080)),
    "interactive": Scenario("Server", SloLimits(1.5, 0.015)),
    "single-stream": Scenario("SingleStream", SloLimits()),
}


@dataclass(frozen=True, slots=True)
class LoadGenPlan:
    """What LoadGen is told.

    Attributes:
        scenario: the scenario.
        slo: the limits in the 99th percentile of `server` and `interactive`.
        rate: requests a second: of `server` and `interactive` those that come (Poisson), of `offline` those expected.
        least_requests: fewest requests.
        least_s: shortest run, in seconds.
        samples: number of different prompts.
        seed: seed of the order and the times.
        open_at_once: requests that are open at once; `offline` has all of them come at once.
        is_accuracy: ask each sample once and keep the answers, instead of measuring.
    """

    scenario: Scenario
    slo: SloLimits
    rate: float
    least_requests: int
    least_s: float
    samples: int
    seed: int = 0
    open_at_once: int = 1024
    is_accuracy: bool = False

    @classmethod
    def of(  # noqa: PLR0913 - what a run is asked for
        cls, name: str, spec: LiveStream, slo: SloLimits, seed: int, samples: int, *, is_accuracy: bool
    ) -> "LoadGenPlan":
        """Return the plan that a stream's `rate`, `requests`, `seconds` and `at_a_time` say.

        With `requests` and without `seconds` the run is as long as those take; MLPerf's own runs have 600 s.
        """
        scenario = SCENARIOS[name]
        own = SloLimits(
            scenario.slo.ttft_s if slo.ttft_s is None else slo.ttft_s,
            scenario.slo.tpot_s if slo.tpot_s is None else slo.tpot_s,
        )
        is_counted = bool(spec.requests) and "seconds" not in spec.model_fields_set
        return cls(
            scenario,
            own,
            spec.rate,
            spec.requests or 1,
            0.0 if is_counted else spec.seconds,
            samples,
            seed,
            spec.at_a_time or 1024,
            is_accuracy,
        )
