"""The default policy's cost: the expected seconds to first token, for this request and for those it delays."""

from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple

from router.estimator.model_estimator import ModelEstimator
from router.estimator.replica_estimator import ReplicaEstimator
from router.estimator.work_rate import WorkRate
from router.replicas.endpoint import Signal
from router.request import RoutingRequest
from router.scheduling.interface import MAX_SHOWN, Costs


class Terms(NamedTuple):
    """The terms of one candidate's cost, each in seconds.

    Attributes:
        queue_s: wait until the prompts before it are prefilled, and their adapters loaded.
        prefill_s: prefill of the part of this prompt that the replica does not hold.
        decode_s: the replica's fixed overhead, and the delay by the sequences it is decoding.
        kv_s: wait until running sequences end and free the KV blocks that this prompt lacks.
        adapter_s: load of the adapter that the replica lacks, the wait for its slot, and the later load of the one that
            it pushes out.
        fetch_s: fetch of the part of this prompt that the replica holds only in tiers below its device.
        recompute_s: prefill that the replica with the longest match would not need, divided by the idle share.
        others_s: delay of later requests by this prompt's prefill.
        evict_s: prefill needed again later, of what this prompt pushes out of the replica's cache.
        crowd_s: what slower tokens cost this answer and those beside it, measured by the times they are to have.
    """

    queue_s: float
    prefill_s: float
    decode_s: float
    kv_s: float
    adapter_s: float
    fetch_s: float
    recompute_s: float
    others_s: float
    evict_s: float
    crowd_s: float


_FETCH: Final = Terms._fields.index("fetch_s")


class ExpectedTtft:
    """A candidate's cost is the expected seconds to first token, for this request and for those it delays.

    Terms 1 to 6 are this request's own time to first token. The fifth (`adapter_s`) is 0 where the request is for no
    adapter: see `AdapterSlots`. The sixth (`fetch_s`) is 0 where no replica holds a part of the prompt only below its
    device: that part need not be computed, but it has to come back.

    Term 7 (`recompute_s`) is engine time spent on a prefix that another replica holds. If replicas are idle for a share
    I of the time, the cluster needs 1 / I seconds to catch up with one second of such work.

    Term 8 (`others_s`) is the delay of later requests. They come to a replica at a rate R, so each second of queue plus
    half this prefill (and load of an adapter) makes R / I of them wait for its length. This is the value function of an
    M/G/1 queue: Hyytiä, Penttinen, Aalto, "Size- and state-aware dispatching problem with queue-specific job sizes",
    EJOR 217, 2012. Where prompts go to whichever replica is free, fewer wait: see `WorkRate`.

    Term 9 (`evict_s`) is the price of room in a cache. A measured share of what is evicted is asked for again, and a
    replica that was given more prefill evicts sooner. So new prefixes go where caches are least used.

    Term 10 (`crowd_s`) is 0 unless requests are to have a time per token (`slo.tpot_s`, `x-slo-tpot-ms`): see
    `StreamSlack.crowding_s`. By it, tight requests come to replicas, or to a pool, that are fast enough for them, and
    the others leave these alone.

    All of these are measured, R and I too, so there is nothing to tune.

    If n other waiting requests share the prompt's longest cached prefix, a new copy of it serves them too, so this
    request is charged only 1 / (1 + n) of computing it again. A hot prefix thus spreads: once the queue of its replica
    costs more than that, another replica gets a copy. A chat that shares its history with nobody stays where that is.
    """

    name = "expected_ttft"
    unit = "seconds"
    needs: ClassVar[frozenset[Signal]] = frozenset()
    terms: ClassVar[Sequence[str]] = Terms._fields

    def __init__(self, estimator: ModelEstimator, work: WorkRate | None = None) -> None:
        self._estimator = estimator
        self._work = work or estimator.work

    def weigh(self, request: RoutingRequest, candidates: Sequence[ReplicaEstimator]) -> Costs:
        """Return each candidate's cost in seconds, 0 or more, and the terms of few candidates, as in `Terms`."""
        costs, terms = self._weigh(request, candidates)
        if request.match.device_counts is not None:
            _add_fetches(request, candidates, costs, terms)
        if self._estimator.keeps_tpot:
            ttft_s, tpot_s = request.targets.ttft_s, request.targets.tpot_s
            crowds_s = [each.slack.crowding_s(tpot_s, ttft_s, each.streams_now, each.streams) for each in candidates]
            costs = [cost + crowd_s for cost, crowd_s in zip(costs, crowds_s, strict=True)]
            terms = [(*shown[:-1], crowd_s) for shown, crowd_s in zip(terms, crowds_s, strict=bool(terms))]
        return costs, terms

    def _weigh(
        self, request: RoutingRequest, candidates: Sequence[ReplicaEstimator]
    ) -> tuple[list[float], list[tuple[float, ...]]]:
        estimator, work = self._estimator, self._work
        chain, match, now_s = request.chain, request.match, request.now_s
        counts, ends, token_ends = match.counts, chain.ends, match.token_ends
        tokens, longest = match.tokens, match.longest
        tokens_per_byte = tokens / chain.size_bytes if chain.size_bytes else 0.0
        followers_per_s = work.followers_per_s
        again = estimator.forgotten * len(work.members) / work.work_s if work.work_s > 0.0 else 0.0
        least = tokens - (token_ends[longest - 1] or ends[longest - 1] * tokens_per_byte) if longest else tokens
        least = max(1.0, least)
        rounding = estimator.rounding.tokens  # of matches that are inferred: replicas that report tell exact ends
        if longest and not token_ends[longest - 1]:
            least = min(tokens, least + rounding)
        own_share = 1.0 / (1.0 + estimator.sharing.count(chain, longest))
        make_good = own_share / work.idle
        costs: list[float] = []
        terms: list[tuple[float, ...]] = []
        has_terms = len(candidates) <= MAX_SHOWN
        load_s = adapter_s = 0.0
        for candidate in candidates:
            held = counts.get(candidate.replica_id, 0)
            overhead_s, s_per_token, s_per_running = candidate.rates.now
            queue_s = candidate.pending.wait_s(now_s, s_per_token)
            if candidate.adapters.loading_until_s > now_s:
                queue_s += candidate.adapters.loading_until_s - now_s
            uncached = tokens - (token_ends[held - 1] or ends[held - 1] * tokens_per_byte) if held else tokens
            if uncached < 1.0:  # noqa: PLR1730 - a call of max takes as long as five lines of this loop
                uncached = 1.0
            if held and not token_ends[held - 1]:
                uncached += rounding
                if uncached > tokens:  # noqa: PLR1730 - as above
                    uncached = tokens
            prefill_s = uncached * s_per_token
            report = candidate.report
            if report is None:
                decode_s, kv_s = overhead_s + s_per_running * candidate.engine.in_flight, 0.0
            else:
                decode_s = overhead_s + s_per_running * report.running
                missing = uncached - (1.0 - report.kv_usage) * report.kv_capacity_tokens
                kv_s = candidate.kv_wait_s(missing, now_s) if missing > 0.0 else 0.0
            if request.adapter:
                load_s, beside_s = candidate.adapters.weigh(request.adapter, now_s)
                adapter_s = load_s + beside_s
            again_tokens = uncached - least
            recompute_s = make_good * again_tokens * s_per_token
            charged_s = (least + own_share * again_tokens) * s_per_token + load_s
            others_s = followers_per_s * charged_s * (queue_s + 0.5 * charged_s)
            evict_s = again * candidate.work_s * prefill_s
            if has_terms:
                terms.append((queue_s, prefill_s, decode_s, kv_s, adapter_s, 0.0, recompute_s, others_s, evict_s, 0.0))
            costs.append(queue_s + prefill_s + decode_s + kv_s + adapter_s + recompute_s + others_s + evict_s)
        return costs, terms


def _add_fetches(
    request: RoutingRequest,
    candidates: Sequence[ReplicaEstimator],
    costs: list[float],
    terms: list[tuple[float, ...]],
) -> None:
    """Add to costs and terms what each candidate would fetch from below its device."""
    chain, match = request.chain, request.match
    for position, candidate in enumerate(candidates):
        fetch_s = match.fetched_tokens(chain, candidate.replica_id) * candidate.fetch_s_per_token
        costs[position] += fetch_s
        if terms:
            shown = terms[position]
            terms[position] = (*shown[:_FETCH], fetch_s, *shown[_FETCH + 1 :])
