"""Counts of one gateway process: plain numbers on the hot path, which prometheus-client reads at each scrape."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.dispatch.ticket import Fault
from router.estimator.expectation import Usage
from router.flow_control.priority import Priority
from router.outcome import Outcome

SECONDS_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds of the time histograms, in seconds: from the first token of a cached prompt to a long answer."""

RESENDS: Final = (
    Fault.FAILED,
    Fault.UNREACHED,
    Fault.STALE_CONNECTION,
    Fault.LEAVING,
    Fault.ERROR,
    Fault.BUSY,
    Fault.SLOW,
    Fault.DIFFERED,
)
"""Reasons for which a request is sent again before any of its answer was sent on; for the last one, of its rest."""
TOKEN_KINDS: Final = ("prompt", "cached", "completion", "reasoning")
_RETRIES: Final = (
    "Requests sent again before any of their answer was sent on: the replica failed, it refuses connections, its idle "
    "connection was stale, it is leaving, or it answered with an error or that it is busy. Differed: a "
    "resumed stream, as an engine that was to repeat the end of its text said something else."
)


class ProbeResult(StrEnum):
    """How a probe of a server's rates ended."""

    ANSWERED = "answered"
    """It was answered, and timed."""
    REFUSED = "refused"
    """The server answered with an error's status."""
    FAILED = "failed"
    """The connection broke, or there was no whole answer in the time that probes may take."""
    YIELDED = "yielded"
    """It was given up for a user's request."""


class Histogram:
    """A histogram of times, with the bounds `SECONDS_BUCKETS`.

    Attributes:
        counts: number of values in each bucket; the last is for values above all bounds.
        total: sum of the values, seconds.
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS_BUCKETS) + 1)
        self.total = 0.0

    def observe(self, value_s: float) -> None:
        """Count one value, in seconds."""
        self.counts[bisect_left(SECONDS_BUCKETS, value_s)] += 1
        self.total += value_s

    def buckets(self) -> list[tuple[str, float]]:
        """Return pairs of a bound and the number of values up to it, as Prometheus wants them."""
        rows: list[tuple[str, float]] = []
        running = 0
        for bound, count in zip((*map(str, SECONDS_BUCKETS), "+Inf"), self.counts, strict=True):
            running += count
            rows.append((bound, float(running)))
        return rows


class ModelMeters:
    """One model's counts.

    Attributes:
        ttfb_s: seconds from a request's last byte to its answer's first.
        duration_s: seconds from a request's last byte to its answer's last.
        body_bytes: bytes of request bodies.
        response_bytes: bytes of answers, as received from replicas.
        retries: requests sent again before any of their answer was sent on, by what was wrong with the replica.
        resumed: streams that another replica continued.
        handovers: prompts that one replica computed for another.
        wait_s: seconds that dispatched requests waited in the gateway, one histogram for each `Priority`.
    """

    __slots__ = ("body_bytes", "duration_s", "handovers", "response_bytes", "resumed", "retries", "ttfb_s", "wait_s")

    def __init__(self) -> None:
        self.ttfb_s = Histogram()
        self.duration_s = Histogram()
        self.body_bytes = 0
        self.response_bytes = 0
        self.retries = dict.fromkeys(RESENDS, 0)
        self.resumed = 0
        self.handovers = 0
        self.wait_s = tuple(Histogram() for _ in Priority)

    def dispatched(self, priority: Priority, wait_s: float) -> None:
        """Count a request that goes to a replica after `wait_s` seconds in the gateway."""
        self.wait_s[priority].observe(wait_s)


class Meters(Collector):
    """All counts of one gateway process.

    Only models that are served have counts: names that come and go leave nothing behind. A request that ends after its
    model has gone is counted with those for no model.

    Attributes:
        outcomes: number of requests by (model, tenant, outcome). The model is "" unless the cluster serves it, so
            clients cannot make this grow.
        tokens: prompt, cached, completion and reasoning tokens of ended requests, by (model, tenant).
        models: the other counts, by model.
        connections: client connections that are open.
        probes: requests of the gateway's own that measured plain servers' rates, by result. They count nowhere else.
    """

    def __init__(self) -> None:
        self.outcomes: dict[tuple[str, str, Outcome], int] = {}
        self.tokens: dict[tuple[str, str], list[int]] = {}
        self.models: dict[str, ModelMeters] = {}
        self.connections = 0
        self.probes = dict.fromkeys(ProbeResult, 0)
        self._of_gone_models = ModelMeters()

    def serve(self, name: str) -> ModelMeters:
        """Return the counts of a model that is served from now on."""
        return self.models.setdefault(name, ModelMeters())

    def forget(self, name: str) -> None:
        """Drop the counts of a model that is no longer served."""
        self.models.pop(name, None)
        for key in [key for key in self.outcomes if key[0] == name]:
            del self.outcomes[key]
        for pair in [pair for pair in self.tokens if pair[0] == name]:
            del self.tokens[pair]

    def model(self, name: str) -> ModelMeters:
        """Return the counts of a model; of one that is not served, counts that nobody reads."""
        return self.models.get(name, self._of_gone_models)

    def ended(self, model: str, tenant: str, outcome: Outcome) -> None:
        """Count one request that ended."""
        key = (model if model in self.models else "", tenant, outcome)
        self.outcomes[key] = self.outcomes.get(key, 0) + 1

    def used(self, model: str, tenant: str, usage: Usage) -> None:
        """Count the tokens of one request that ended; numbers that its answer does not give count as 0."""
        key = (model if model in self.models else "", tenant)
        counts = self.tokens.get(key)
        if counts is None:
            counts = self.tokens[key] = [0] * len(TOKEN_KINDS)
        counts[0] += usage.prompt_tokens or 0
        counts[1] += usage.cached_tokens or 0
        counts[2] += usage.completion_tokens or 0
        counts[3] += usage.reasoning_tokens or 0

    def collect(self) -> Iterator[Metric]:
        """Yield all metric families."""
        requests = CounterMetricFamily(
            "rackserve_requests", "Requests ended, by outcome.", labels=["model", "tenant", "outcome"]
        )
        for (model, tenant, outcome), count in list(self.outcomes.items()):
            requests.add_metric([model, tenant, outcome], count)
        yield requests
        tokens = CounterMetricFamily(
            "rackserve_tokens",
            "Tokens of ended requests: prompt, cached (part of prompt), completion (events, if a stream has no usage), "
            "reasoning (part of completion, as far as engines tell).",
            labels=["model", "tenant", "kind"],
        )
        for (model, tenant), counts in list(self.tokens.items()):
            for kind, count in zip(TOKEN_KINDS, counts, strict=True):
                tokens.add_metric([model, tenant, kind], count)
        yield tokens
        yield self._histogram(
            "rackserve_time_to_first_byte_seconds",
            "Seconds from a request's last byte to its answer's first, at the gateway.",
            ((name, meters.ttfb_s) for name, meters in self.models.items()),
        )
        yield self._histogram(
            "rackserve_request_duration_seconds",
            "Seconds from a request's last byte to its answer's last, at the gateway.",
            ((name, meters.duration_s) for name, meters in self.models.items()),
        )
        for metric, text, attribute in (
            ("rackserve_request_body_bytes", "Bytes of request bodies.", "body_bytes"),
            ("rackserve_response_bytes", "Bytes of answers, as received from replicas.", "response_bytes"),
            (
                "rackserve_resumed_streams",
                "Streams that another replica continued after the first one failed.",
                "resumed",
            ),
            ("rackserve_handovers", "Prompts that one replica computed and another fetched.", "handovers"),
        ):
            counter = CounterMetricFamily(metric, text, labels=["model"])
            for name, meters in self.models.items():
                counter.add_metric([name], getattr(meters, attribute))
            yield counter
        retries = CounterMetricFamily("rackserve_retries", _RETRIES, labels=["model", "reason"])
        for name, meters in self.models.items():
            for reason, count in meters.retries.items():
                retries.add_metric([name, reason], count)
        yield retries
        probes = CounterMetricFamily(
            "rackserve_rate_probes",
            "Requests of the gateway's own that measure the rates of plain servers, by result.",
            labels=["result"],
        )
        for result, count in self.probes.items():
            probes.add_metric([result], count)
        yield probes
        yield GaugeMetricFamily(
            "rackserve_client_connections", "Client connections that are open.", value=self.connections
        )

    @staticmethod
    def _histogram(name: str, text: str, rows: Iterable[tuple[str, Histogram]]) -> Metric:
        family = HistogramMetricFamily(name, text, labels=["model"])
        for model, histogram in rows:
            family.add_metric([model], buckets=histogram.buckets(), sum_value=histogram.total)
        return family
