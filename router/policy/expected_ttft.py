"""The default policy's score: the seconds to first tokens that giving this request to a replica will cost."""

from collections.abc import Sequence
from typing import NamedTuple

from router.outlook import ModelOutlook, ReplicaOutlook, running, uncached_tokens
from router.request import RoutingRequest
from router.snapshot import ReplicaSnapshot, Signal


class Terms(NamedTuple):
    """What one candidate's cost is the sum of, each in seconds.

    Attributes:
        queue_s: until the prompts that wait there already are prefilled.
        prefill_s: to prefill what the replica does not hold of this prompt.
        decode_s: what the replica's fixed overhead and the sequences it is decoding add.
        kv_s: until running sequences have ended whose KV blocks this prompt needs.
        recompute_s: prefill that another candidate would not have to do.
        others_s: the delay this prompt's prefill passes on to the requests that come behind it.
        evict_s: prefill that will be needed again for what this prompt pushes out of the replica's cache.
    """

    queue_s: float
    prefill_s: float
    decode_s: float
    kv_s: float
    recompute_s: float
    others_s: float
    evict_s: float


class ExpectedTtft:
    """Expected seconds to first token, this request's and, by what it holds up, the others'.

    The first four terms are this request's own time to first token. The fifth counts engine time spent on what another
    replica holds, second for second: it is missing for everybody. The sixth is the delay of those behind it. All are
    seconds, so nothing is weighted and there is nothing to tune. A hot prefix spreads by itself: once its replica's
    queue costs more than computing the prefix again, another replica gets a copy.

    Between equals the one that has prefilled least lately wins: its cache holds the oldest, least wanted blocks.

    Attributes:
        last_terms: the terms of the last `costs`, in the candidates' order.
    """

    name = "expected_ttft"
    unit = "seconds"
    needs: frozenset[Signal] = frozenset()
    terms = Terms._fields

    def __init__(self, outlook: ModelOutlook) -> None:
        self._outlook = outlook
        self.last_terms: Sequence[Terms] = ()

    def costs(self, request: RoutingRequest, candidates: Sequence[ReplicaSnapshot]) -> list[float]:
        """Return each candidate's cost in seconds, 0 or more."""
        outlook = self._outlook
        chain, now_s = request.chain, request.now_s
        count = outlook.match(chain).count
        tokens = outlook.tokens(chain)
        idle, requests_per_s = outlook.congestion(now_s)
        followers_per_s = requests_per_s / idle
        known = outlook.replicas
        forgotten = outlook.regret.forgotten
        mean_work_s = sum(replica.work_s for replica in known.values()) / len(known) if known else 0.0
        again = forgotten / mean_work_s if mean_work_s > 0.0 else 0.0
        matched = [chain.prefix_bytes(count(candidate.replica_id)) for candidate in candidates]
        least = uncached_tokens(tokens, max(matched), chain.size_bytes)
        costs: list[float] = []
        terms: list[Terms] = []
        for candidate, matched_bytes in zip(candidates, matched, strict=True):
            replica = known.get(candidate.replica_id)
            if replica is None:
                outlook.add_replica(candidate.replica_id)
                replica = known[candidate.replica_id]
            rates = replica.rates
            s_per_token = rates.s_per_token
            queue_s = replica.pending.waiting_tokens(now_s, 1.0 / s_per_token) * s_per_token
            uncached = uncached_tokens(tokens, matched_bytes, chain.size_bytes)
            prefill_s = uncached * s_per_token
            decode_s = rates.overhead_s + rates.s_per_running * running(replica, candidate)
            kv_s = _kv_wait_s(replica, uncached, now_s) if replica.report is not None else 0.0
            recompute_s = (uncached - least) * s_per_token / idle
            others_s = followers_per_s * prefill_s * (queue_s + 0.5 * prefill_s)
            evict_s = again * replica.work_s * prefill_s
            terms.append(Terms(queue_s, prefill_s, decode_s, kv_s, recompute_s, others_s, evict_s))
            costs.append(queue_s + prefill_s + decode_s + kv_s + recompute_s + others_s + evict_s)
        self.last_terms = terms
        return costs


def _kv_wait_s(replica: ReplicaOutlook, tokens: float, now_s: float) -> float:
    """Return how long a prompt waits for KV blocks: those missing over the rate at which ended requests free them."""
    report = replica.report
    if report is None or not report.kv_capacity_tokens:
        return 0.0
    missing = tokens - (1.0 - report.kv_usage) * report.kv_capacity_tokens
    if missing <= 0.0:
        return 0.0
    replica.kv_freed.fade(now_s)
    freed_per_s = replica.kv_freed.values[0] / replica.kv_freed.span_s(1.0)
    return missing / max(freed_per_s, report.decode_tokens_per_s, 1.0)
