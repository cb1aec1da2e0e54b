"""The default policy's score: the seconds to first tokens that giving this request to a replica will cost."""

from collections.abc import Sequence
from typing import NamedTuple

from router.estimator.model_estimator import ModelEstimator
from router.estimator.replica_estimator import ReplicaEstimator
from router.replicas.snapshot import LoadReport, ReplicaSnapshot, Signal
from router.request import RoutingRequest


class Terms(NamedTuple):
    """What one candidate's cost is the sum of, each in seconds.

    Attributes:
        queue_s: until the prompts that wait there already are prefilled.
        prefill_s: to prefill what the replica does not hold of this prompt.
        decode_s: what the replica's fixed overhead and the sequences it is decoding add.
        kv_s: until running sequences have ended whose KV blocks this prompt needs.
        recompute_s: prefill that another replica would not have to do, over the share of the time replicas are idle.
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
    replica holds: it is missing for everybody, and where replicas are idle a share I of the time, a second of it takes
    1 / I seconds to make good. The sixth is the delay of those behind: requests come to a replica at rate R, so a
    second of work holds up R / I of them for each second of queue (the value function of an M/G/1 queue: Hyytiä,
    Penttinen, Aalto, "Size- and state-aware dispatching problem with queue-specific job sizes", EJOR 217, 2012). The
    last prices room in a cache: of what is evicted a measured share is asked for again, most of all where most has been
    computed lately, so new prefixes go where caches are least used. R, I and all else are measured: there is nothing to
    tune.

    A prefix that other waiting requests have in common is computed for them too: where n of them wait, this one is
    charged a share of 1 / (1 + n) of computing it again. So a hot prefix spreads by itself: once its replica's queue
    costs more than computing it again, another gets a copy; and a chat of its own stays where its history is.

    Attributes:
        last_terms: the terms of the last `costs`, in the candidates' order.
    """

    name = "expected_ttft"
    unit = "seconds"
    needs: frozenset[Signal] = frozenset()
    terms = Terms._fields

    def __init__(self, outlook: ModelEstimator) -> None:
        self._outlook = outlook
        self.last_terms: Sequence[Sequence[float]] = ()

    def costs(self, request: RoutingRequest, candidates: Sequence[ReplicaSnapshot]) -> list[float]:
        """Return each candidate's cost in seconds, 0 or more."""
        outlook = self._outlook
        chain, now_s = request.chain, request.now_s
        known, idle = outlook.replicas, outlook.idle
        match = outlook.match(chain)
        columns, counts, ends, token_ends = match.columns, match.counts, chain.ends, match.token_ends
        tokens = outlook.tokens(chain)
        tokens_per_byte = tokens / chain.size_bytes if chain.size_bytes else 0.0
        followers_per_s = outlook.requests_per_s / idle
        again = outlook.forgotten * len(known) / outlook.work_s if outlook.work_s > 0.0 else 0.0
        longest = match.longest
        least = tokens - (token_ends[longest - 1] or ends[longest - 1] * tokens_per_byte) if longest else tokens
        least = max(1.0, least)
        own_share = 1.0 / (1.0 + outlook.sharing(chain, longest))
        make_good = own_share / idle
        costs: list[float] = []
        terms: list[tuple[float, ...]] = []
        for candidate in candidates:
            replica_id = candidate.endpoint.replica_id
            column = columns.get(replica_id)
            held = counts[column] if column is not None else 0
            replica = known.get(replica_id)
            if replica is None:
                replica = outlook.add_replica(replica_id)
            overhead_s, s_per_token, s_per_running = replica.rates.now
            queue_s = replica.pending.wait_s(now_s, s_per_token)
            uncached = tokens - (token_ends[held - 1] or ends[held - 1] * tokens_per_byte) if held else tokens
            if uncached < 1.0:  # noqa: PLR1730 - a call of max takes as long as five lines of this loop
                uncached = 1.0
            prefill_s = uncached * s_per_token
            report = replica.report
            if report is None:
                decode_s, kv_s = overhead_s + s_per_running * candidate.in_flight, 0.0
            else:
                decode_s = overhead_s + s_per_running * report.running
                missing = uncached - (1.0 - report.kv_usage) * report.kv_capacity_tokens
                kv_s = _kv_wait_s(replica, report, missing, now_s) if missing > 0.0 else 0.0
            again_tokens = uncached - least
            recompute_s = make_good * again_tokens * s_per_token
            charged_s = (least + own_share * again_tokens) * s_per_token
            others_s = followers_per_s * charged_s * (queue_s + 0.5 * charged_s)
            evict_s = again * replica.work_s * prefill_s
            terms.append((queue_s, prefill_s, decode_s, kv_s, recompute_s, others_s, evict_s))
            costs.append(queue_s + prefill_s + decode_s + kv_s + recompute_s + others_s + evict_s)
        self.last_terms = terms
        return costs


def _kv_wait_s(replica: ReplicaEstimator, report: LoadReport, missing_tokens: float, now_s: float) -> float:
    """Return how long a prompt waits for missing KV cache, by the rate at which requests that end free some."""
    if not report.kv_capacity_tokens:
        return 0.0
    replica.kv_freed.fade(now_s)
    freed_per_s = replica.kv_freed.values[0] / replica.kv_freed.span_s(1.0)
    return missing_tokens / (max(freed_per_s, report.decode_tokens_per_s) or replica.rates.tokens_per_s)
