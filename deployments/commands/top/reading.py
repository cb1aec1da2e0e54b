"""One look at the metrics of all gateways: sums over the gateways, and each replica's figures once."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from cluster.spec.model_spec import label_of
from router.replicas.ranks import rank_id
from router.replicas.speculation_report import SpeculationReport

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
    "rackserve_speculation_drafts_total": "drafts",
    "rackserve_speculation_draft_tokens_total": "drafted",
    "rackserve_speculation_tokens_per_step": "tokens_per_step",
    "rackserve_speculation_speedup": "speedup",
}


@dataclass(slots=True)
class ModelReading:
    """One model, over all gateways.

    Attributes:
        requests: requests that have ended so far.
        failed: those of them whose outcome was not `ok`.
        waiting: requests that wait in the gateways now.
        first_bytes: answers that have begun so far.
        first_byte_buckets: number of answers that began within each upper bound, by the bound in seconds.
        expected_wait_s: the longest wait that any gateway expects, seconds.
        hit_ratio: share of prompt tokens found cached, mean of the gateways' values; None: no policy reads prompts.
        ideal_hit_ratio: the share that one infinite cache would have found; None: no policy reads prompts.
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
    """One replica, or one of its data-parallel ranks: the largest value of each figure over the gateways.

    Attributes:
        model: the model it serves.
        replica: the replica's id, which its ranks have in common.
        pool: the pool of that model; "": the model has one pool without a name.
        domain: its NVLink domain; "": not known.
        accepting: some gateway sends it requests.
        reporting: some gateway receives its telemetry; if not, the figures below are 0.
        running: requests in its engine's batch.
        waiting: requests in its engine's queue.
        kv_usage: share of its KV cache in use, 0 to 1.
        decode_tokens_per_s: tokens generated per second while busy.
        drafts: drafts of speculative decoding so far; 0: none, or it does not speculate.
        drafted: tokens of these drafts.
        accepted: those of them that were right, by their place in the draft.
        tokens_per_step: tokens that a sequence gets from a step; 0: not known.
        speedup: tokens a second over those without drafts; 0: not known.
    """

    model: str
    replica: str = ""
    pool: str = ""
    domain: str = ""
    accepting: bool = False
    reporting: bool = False
    running: float = 0.0
    waiting: float = 0.0
    kv_usage: float = 0.0
    decode_tokens_per_s: float = 0.0
    drafts: float = 0.0
    drafted: float = 0.0
    accepted: dict[int, float] = field(default_factory=dict)
    tokens_per_step: float = 0.0
    speedup: float = 0.0

    @property
    def speculation(self) -> SpeculationReport | None:
        """What speculative decoding brings there; None: no draft has been verified."""
        if not self.drafts:
            return None
        by_place = tuple(int(self.accepted.get(place, 0)) for place in range(max(self.accepted, default=-1) + 1))
        return SpeculationReport(int(self.drafts), int(self.drafted), by_place, self.tokens_per_step, self.speedup)


@dataclass(slots=True)
class Reading:
    """The whole cluster at one look.

    Attributes:
        at_s: when, monotonic seconds.
        gateways: gateways that answered.
        connections: open client connections.
        models: each model's figures, by name.
        replicas: each replica's figures, by id; those of each of its ranks where it has several.
    """

    at_s: float
    gateways: int = 0
    connections: float = 0.0
    models: dict[str, ModelReading] = field(default_factory=lambda: defaultdict(ModelReading))
    replicas: dict[str, ReplicaReading] = field(default_factory=dict)

    @property
    def whole_replicas(self) -> int:
        """Number of replicas: one with several ranks is one."""
        return len({replica.replica for replica in self.replicas.values()})

    @property
    def speculation(self) -> dict[str, list[SpeculationReport]]:
        """What speculative decoding brings on the replicas of each pool that speculates, by label."""
        of_pool: dict[str, list[SpeculationReport]] = defaultdict(list)
        for replica in self.replicas.values():
            if (told := replica.speculation) is not None:
                of_pool[label_of(replica.model, replica.pool)].append(told)
        return of_pool


def read(pages: Iterable[str], at_s: float) -> Reading:
    """Return one reading of the gateways' `/metrics` pages.

    Counters are added up over the gateways. Every gateway reports the same about a replica, so the largest value
    counts. Ratios over each gateway's own requests are averaged.

    Args:
        pages: the text of each gateway's `/metrics`.
        at_s: when they were read, monotonic seconds.
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
    whole, rank = labels["replica"], labels.get("rank")
    new = ReplicaReading(labels["model"], whole, labels.get("pool", ""))
    replica = reading.replicas.setdefault(rank_id(whole, int(rank)) if rank else whole, new)
    replica.domain = labels.get("domain") or replica.domain
    if name in _OF_REPLICAS:
        setattr(replica, _OF_REPLICAS[name], max(getattr(replica, _OF_REPLICAS[name]), value))
    elif name == "rackserve_speculation_accepted_tokens_total":
        place = int(labels["position"])
        replica.accepted[place] = max(replica.accepted.get(place, 0.0), value)
    elif name == "rackserve_engine_reporting":
        replica.reporting |= value > 0
    elif name == "rackserve_replica_accepting":
        replica.accepting |= value > 0
