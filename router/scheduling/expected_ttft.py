"""The default policy's score: the seconds to first tokens that giving this request to a replica will cost."""

from collections.abc import Sequence
from typing import NamedTuple

from router.estimator.model_estimator import ModelEstimator
from router.estimator.replica_estimator import ReplicaEstimator
from router.replicas.endpoint import Signal
from router.request import RoutingRequest
from router.scheduling.interface import Costs


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
    """

    name = "expected_ttft"
    unit = "seconds"
    needs: frozenset[Signal] = frozenset()
    terms: Sequence[str] = Terms._fields

    def __init__(self, estimator: ModelEstimator) -> None:
        self._estimator = estimator

    def weigh(self, request: RoutingRequest, candidates: Sequence[ReplicaEstimator]) -> Costs:
        """Return each candidate's cost in seconds, 0 or more, and its terms in the order of `Terms`."""
        estimator = self._estimator
        chain, match, now_s = request.chain, request.match, request.now_s
        idle = estimator.idle
        columns, counts, ends, token_ends = match.columns, match.counts, chain.ends, match.token_ends
        tokens, longest = match.tokens, match.longest
        tokens_per_byte = tokens / chain.size_bytes if chain.size_bytes else 0.0
        followers_per_s = estimator.requests_per_s / idle
        again = estimator.forgotten * len(estimator.replicas) / estimator.work_s if estimator.work_s > 0.0 else 0.0
        least = tokens - (token_ends[longest - 1] or ends[longest - 1] * tokens_per_byte) if longest else tokens
        least = max(1.0, least)
        own_share = 1.0 / (1.0 + estimator.sharing(chain, longest))
        make_good = own_share / idle
        costs: list[float] = []
        terms: list[tuple[float, ...]] = []
        for candidate in candidates:
            column = columns.get(candidate.replica_id)
            held = counts[column] if column is not None else 0
            overhead_s, s_per_token, s_per_running = candidate.rates.now
            queue_s = candidate.pending.wait_s(now_s, s_per_token)
            uncached = tokens - (token_ends[held - 1] or ends[held - 1] * tokens_per_byte) if held else tokens
            if uncached < 1.0:  # noqa: PLR1730 - a call of max takes as long as five lines of this loop
                uncached = 1.0
            prefill_s = uncached * s_per_token
            report = candidate.report
            if report is None:
                decode_s, kv_s = overhead_s + s_per_running * candidate.in_flight, 0.0
            else:
                decode_s = overhead_s + s_per_running * report.running
                missing = uncached - (1.0 - report.kv_usage) * report.kv_capacity_tokens
                kv_s = candidate.kv_wait_s(missing, now_s) if missing > 0.0 else 0.0
            again_tokens = uncached - least
            recompute_s = make_good * again_tokens * s_per_token
            charged_s = (least + own_share * again_tokens) * s_per_token
            others_s = followers_per_s * charged_s * (queue_s + 0.5 * charged_s)
            evict_s = again * candidate.work_s * prefill_s
            terms.append((queue_s, prefill_s, decode_s, kv_s, recompute_s, others_s, evict_s))
            costs.append(queue_s + prefill_s + decode_s + kv_s + recompute_s + others_s + evict_s)
        return costs, terms
