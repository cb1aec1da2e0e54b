"""One look at all gateways' metrics: their sums, and each replica's figures once."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

_ADDED = {
    "rackserve_requests_total": "requests",
    "rackserve_waiting_requests": "waiting",
    "rackserve_time_to_first_byte_seconds_count": "first_bytes",
}
_OWN_VIEW = {
    "rackserve_prefix_hit_ratio": "hit_ratio",
    "rackserve_prefix_hit_ratio_ideal": "ideal_hit_ratio",
}
_OF_REPLICAS = {
    "rackserve_engine_running_requests": "running",
    "rackserve_engine_waiting_requests": "waiting",
    "rackserve_engine_kv_usage_ratio": "kv_usage",
    "rackserve_engine_decode_tokens_per_second": "decode_tokens_per_s",
}


@dataclass(slots=True)
class ModelReading:
    """One model, over all gateways.

    Attributes:
        requests: ended so far.
        failed: of them, those that ended otherwise than well.
        waiting: in the gateways now.
        first_bytes: answers that have begun so far.
        first_byte_buckets: of those, so many within so many seconds.
        expected_wait_s: the longest any gateway expects.
        hit_ratio: share of prompt tokens found cached, mean of the gateways'; None: no policy reads prompts.
        ideal_hit_ratio: what one infinite cache would have found.
    """

    requests: float = 0.0
    failed: float = 0.0
    waiting: float = 0.0
    first_bytes: float = 0.0
    first_byte_buckets: dict[float, float] = field(default_factory=dict)
    expected_wait_s: float = 0.0
    hit_ratio: float | None = None
    ideal_hit_ratio: float | None = None


@dataclass(slots=True)
class ReplicaReading:
    """One replica, as the gateway that knows most of it tells.

    Attributes:
        model: what it serves.
        domain: its NVLink domain, or "".
        accepting: some gateway gives it requests.
        reporting: its telemetry is heard; if not, the rest is 0.
        running: requests in its engine's batch.
        waiting: requests in its engine's queue.
        kv_usage: share of its KV cache in use.
        decode_tokens_per_s: tokens generated a second while busy.
    """

    model: str
    domain: str = ""
    accepting: bool = False
    reporting: bool = False
    running: float = 0.0
    waiting: float = 0.0
    kv_usage: float = 0.0
    decode_tokens_per_s: float = 0.0


@dataclass(slots=True)
class Reading:
    """All of it.

    Attributes:
        at_s: when, on a monotonic clock.
        gateways: how many answered.
        connections: client connections open.
    """

    at_s: float
    gateways: int = 0
    connections: float = 0.0
    models: dict[str, ModelReading] = field(default_factory=lambda: defaultdict(ModelReading))
    replicas: dict[str, ReplicaReading] = field(default_factory=dict)


def read(pages: Iterable[str], at_s: float) -> Reading:
    """Return what the gateways' `/metrics` pages come to.

    Counters add up over gateways; of a replica every gateway tells the same, so the largest is taken; ratios that each
    gateway has of its own requests are averaged.
    """
    reading = Reading(at_s)
    ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
    for page in pages:
        reading.gateways += 1
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                _take(reading, ratios, sample.name, sample.labels, sample.value)
    for (model, attribute), values in ratios.items():
        setattr(reading.models[model], attribute, sum(values) / len(values))
    return reading


def _take(
    reading: Reading,
    ratios: dict[tuple[str, str], list[float]],
    name: str,
    labels: Mapping[str, str],
    value: float,
) -> None:
    if name == "rackserve_client_connections":
        reading.connections += value
        return
    model_name = labels.get("model", "")
    if not model_name:
        return
    if "replica" in labels:
        _take_of_replica(reading, name, labels, value)
        return
    model = reading.models[model_name]
    if name in _ADDED:
        setattr(model, _ADDED[name], getattr(model, _ADDED[name]) + value)
        if labels.get("outcome", "ok") != "ok":
            model.failed += value
    elif name in _OWN_VIEW:
        ratios[model_name, _OWN_VIEW[name]].append(value)
    elif name == "rackserve_expected_wait_seconds":
        model.expected_wait_s = max(model.expected_wait_s, value)
    elif name == "rackserve_time_to_first_byte_seconds_bucket":
        bound_s = float(labels["le"])
        model.first_byte_buckets[bound_s] = model.first_byte_buckets.get(bound_s, 0.0) + value


def _take_of_replica(reading: Reading, name: str, labels: Mapping[str, str], value: float) -> None:
    replica = reading.replicas.setdefault(labels["replica"], ReplicaReading(labels["model"]))
    replica.domain = labels.get("domain") or replica.domain
    if name in _OF_REPLICAS:
        setattr(replica, _OF_REPLICAS[name], max(getattr(replica, _OF_REPLICAS[name]), value))
    elif name == "rackserve_engine_reporting":
        replica.reporting |= value > 0
    elif name == "rackserve_replica_accepting":
        replica.accepting |= value > 0
