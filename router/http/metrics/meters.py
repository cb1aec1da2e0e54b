"""What the gateway counts, as plain numbers on the hot path; prometheus-client reads them when asked."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.estimator.expectation import Usage
from router.flow_control.priority import Priority
from router.outcome import Outcome

SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds of the time histograms, in seconds: from a cached prefix's TTFT to a long generation."""

TOKEN_KINDS = ("prompt", "cached", "completion")


class Histogram:
    """Counts of values at or under each bound, and their sum."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS_BUCKETS) + 1)
        self.total = 0.0

    def observe(self, value_s: float) -> None:
        """Count one value."""
        self.counts[bisect_left(SECONDS_BUCKETS, value_s)] += 1
        self.total += value_s

    def buckets(self) -> list[tuple[str, float]]:
        """Return the cumulative counts as Prometheus wants them."""
        rows: list[tuple[str, float]] = []
        running = 0
        for bound, count in zip((*map(str, SECONDS_BUCKETS), "+Inf"), self.counts, strict=True):
            running += count
            rows.append((bound, float(running)))
        return rows


class ModelMeters:
    """One model's counts."""

    __slots__ = ("body_bytes", "duration_s", "response_bytes", "resumed", "retries", "ttfb_s", "wait_s")

    def __init__(self) -> None:
        self.ttfb_s = Histogram()
        self.duration_s = Histogram()
        self.body_bytes = 0
        self.response_bytes = 0
        self.retries = 0
        self.resumed = 0
        self.wait_s = tuple(Histogram() for _ in Priority)

    def dispatched(self, priority: Priority, wait_s: float) -> None:
        """Count a request that goes to a replica after waiting in the gateway."""
        self.wait_s[priority].observe(wait_s)


class Meters(Collector):
    """All counts of one gateway process.

    Attributes:
        outcomes: requests by (model, tenant, outcome); the model is "" where it is not one of ours, so that clients
            cannot grow this.
        tokens: prompt, cached and completion tokens of ended requests, by (model, tenant).
        connections: client connections open now.
    """

    def __init__(self) -> None:
        self.outcomes: dict[tuple[str, str, Outcome], int] = {}
        self.tokens: dict[tuple[str, str], list[int]] = {}
        self.models: dict[str, ModelMeters] = {}
        self.connections = 0

    def model(self, name: str) -> ModelMeters:
        """Return the counts of a model of the cluster."""
        meters = self.models.get(name)
        if meters is None:
            meters = self.models[name] = ModelMeters()
        return meters

    def ended(self, model: str, tenant: str, outcome: Outcome) -> None:
        """Count one request that ended."""
        key = (model, tenant, outcome)
        self.outcomes[key] = self.outcomes.get(key, 0) + 1

    def used(self, model: str, tenant: str, usage: Usage) -> None:
        """Count the tokens of one request that ended; what its answer does not tell counts as none."""
        counts = self.tokens.get((model, tenant))
        if counts is None:
            counts = self.tokens[model, tenant] = [0] * len(TOKEN_KINDS)
        counts[0] += usage.prompt_tokens or 0
        counts[1] += usage.cached_tokens or 0
        counts[2] += usage.completion_tokens or 0

    def collect(self) -> Iterator[Metric]:
        """Yield everything in Prometheus' terms."""
        requests = CounterMetricFamily(
            "rackserve_requests", "Requests ended, by outcome.", labels=["model", "tenant", "outcome"]
        )
        for (model, tenant, outcome), count in list(self.outcomes.items()):
            requests.add_metric([model, tenant, outcome], count)
        yield requests
        tokens = CounterMetricFamily(
            "rackserve_tokens",
            "Tokens of ended requests: prompt, cached (of those), completion; streams without usage count events.",
            labels=["model", "tenant", "kind"],
        )
        for (model, tenant), counts in list(self.tokens.items()):
            for kind, count in zip(TOKEN_KINDS, counts, strict=True):
                tokens.add_metric([model, tenant, kind], count)
        yield tokens
        yield self._histogram(
            "rackserve_time_to_first_byte_seconds",
            "From the request's last byte to the answer's first, at the gateway.",
            ((name, meters.ttfb_s) for name, meters in self.models.items()),
        )
        yield self._histogram(
            "rackserve_request_duration_seconds",
            "From the request's last byte to the answer's last, at the gateway.",
            ((name, meters.duration_s) for name, meters in self.models.items()),
        )
        for metric, text, attribute in (
            ("rackserve_request_body_bytes", "Bytes of request bodies.", "body_bytes"),
            ("rackserve_response_bytes", "Bytes of answers, as received from replicas.", "response_bytes"),
            ("rackserve_retries", "Requests sent once more because a replica failed before answering.", "retries"),
            ("rackserve_resumed_streams", "Streams another replica went on with after theirs died.", "resumed"),
        ):
            counter = CounterMetricFamily(metric, text, labels=["model"])
            for name, meters in self.models.items():
                counter.add_metric([name], getattr(meters, attribute))
            yield counter
        yield GaugeMetricFamily("rackserve_client_connections", "Client connections open now.", value=self.connections)

    @staticmethod
    def _histogram(name: str, text: str, rows: Iterable[tuple[str, Histogram]]) -> Metric:
        family = HistogramMetricFamily(name, text, labels=["model"])
        for model, histogram in rows:
            family.add_metric([model], buckets=histogram.buckets(), sum_value=histogram.total)
        return family
