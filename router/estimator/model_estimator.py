"""The estimator of one model: which replica holds a prompt's prefix, how much work waits there, how fast it is.

Policies read it. The dispatcher calls `expect` when it sends a request, then `prefilled` and `finished`, or `lost`. It
reads no clock and does no I/O, so gateway and simulators run the same code.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from cluster.spec.role import PREFILL
from router.estimator.adapter_slots import AdapterSlots, AdapterUse
from router.estimator.cache_rounding import CacheRounding
from router.estimator.expectation import Expectation, Usage
from router.estimator.learned_rates import LearnedRates, ProbeOutcome, Rates, rates_of, shared_rates
from router.estimator.learning.fading_mean import FadingMean
from router.estimator.prefix_sharing import PrefixSharing
from router.estimator.replica_estimator import ReplicaEstimator
from router.estimator.work_rate import WorkRate
from router.prefix_cache.exact import ResidencyDelta
from router.prefix_cache.match import NO_MATCH, PrefixMatch
from router.prefix_cache.residency import Residency
from router.prefix_cache.routing_efficiency import RoutingEfficiency
from router.prompt.chunk_chain import ChunkChain
from router.replicas.endpoint import Endpoint, Signal
from router.replicas.load_report import LoadReport
from router.request import RoutingRequest

if TYPE_CHECKING:
    from router.estimator.streams.speed import StreamSpeed

UNKNOWN_KV_TOKENS: Final = 100_000
"""KV capacity assumed of a replica that does not report it, in tokens.

If it is too low, some cached prefixes are forgotten; if too high, evicted ones are believed to be cached.
"""
PRIOR_BYTES_PER_TOKEN: Final = 4.0
"""Prompt bytes per token before any answer's `usage` was seen: about that of English text."""
PRIOR_TOKENS: Final = 100.0
"""Tokens that this first guess weighs as much as."""
BODY_BYTES_PER_TOKEN: Final = 4.0
"""Bytes of a request's body per prompt token, about, where prompts are not read."""
RELAX_EVERY_S: Final = 10.0
"""Seconds after which the learned rates are faded towards the mean of all replicas again."""
MOST_RELAXED_S: Final = 60.0
"""Most seconds by which rates fade at once, after a gap between ticks."""
_KEEP_BYTES: Final = 0.995
"""Share of the past that each answer leaves in the mean of bytes per token: in effect the last 200 answers count."""
_LEAST_BYTES: Final = 0.25
_MOST_BYTES: Final = 32.0
"""Bytes per token outside which an answer says nothing of text: its prompt has images, or its counts are of another
kind. Text has 1 (digits, rare scripts) to 8 (long words); a short prompt has less, by its chat template."""


class ModelEstimator:
    """What one gateway expects of all replicas of one model.

    Args:
        reads_prompts: learn from prompts and answers; False: only count the waiting work, by the size of bodies.

    Attributes:
        reads_prompts: whether it learns from prompts and answers.
        replicas: the replicas that exist.
        residency: which replica holds which prefix.
        efficiency: cache hits and balance, compared with one infinite shared cache.
        rounding: tokens that engines compute again of a prefix that they hold.
        bytes_per_token: canonical prompt bytes per token, learned from answers' `usage`.
        forgotten: chance that an evicted chunk is asked for again, 0 to 1, as of the last `tick`.
        work: the prompts that come to replicas that generate answers.
        prefill_work: the prompts that come to replicas that only compute prompts.
        adapters: the use of the model's adapters.
        sharing: the prefixes that waiting requests have in common.
        keeps_tpot: requests came that are to have a time per token, and no replica computes prompts for others.
    """

    def __init__(self, *, reads_prompts: bool = True) -> None:
        self.reads_prompts = reads_prompts
        self.replicas: list[ReplicaEstimator] = []
        self.residency = Residency()
        self.efficiency = RoutingEfficiency()
        self._bytes_seen = FadingMean(PRIOR_BYTES_PER_TOKEN * PRIOR_TOKENS, PRIOR_TOKENS)
        self.bytes_per_token = PRIOR_BYTES_PER_TOKEN
        self.rounding = CacheRounding()
        self._relaxed_s = 0.0
        self.work = WorkRate()
        self.prefill_work = WorkRate(is_shared=True)
        self.forgotten = self.efficiency.forgotten
        self.adapters = AdapterUse()
        self.sharing = PrefixSharing()
        self.keeps_tpot = False
        self._speeds: dict[str, StreamSpeed] = {}

    # --- replicas

    def set_reads_prompts(self, *, reads_prompts: bool) -> None:
        """Begin or stop to learn from prompts, after a change of policy. All caches count as empty at first."""
        if reads_prompts != self.reads_prompts:
            self.reads_prompts = reads_prompts
            self.residency = Residency()
            for replica in self.replicas:
                self._know_cache(replica.endpoint, replica.kv_tokens)

    def join(self, replica: ReplicaEstimator) -> None:
        """Add a replica. Until it has outcomes of its own, the mean rates of its peers are expected of it."""
        shared = self._shared_rates(replica.endpoint.pool)
        if shared is not None:
            replica.rates = LearnedRates(shared)
        replica.streams = self._speeds.setdefault(replica.endpoint.pool, replica.streams)
        replica.adapters = AdapterSlots(self.adapters)
        self.replicas.append(replica)
        self.work_rate(replica).members.append(replica)
        self._know_cache(replica.endpoint, replica.kv_tokens)

    def _know_cache(self, endpoint: Endpoint, kv_tokens: int) -> None:
        if self.reads_prompts:
            self.residency.add_replica(
                endpoint.replica_id,
                exact=Signal.RESIDENCY in endpoint.signals,
                kv_bytes=int((kv_tokens or UNKNOWN_KV_TOKENS) * self.bytes_per_token),
                caches=endpoint.caches_prefixes,
            )

    def leave(self, replica: ReplicaEstimator) -> None:
        """Remove a replica that is gone, with all that counted as cached there."""
        self.replicas.remove(replica)
        replica.adapters.left()
        self.work_rate(replica).members.remove(replica)
        self.efficiency.forget(replica.replica_id)
        self.residency.drop_replica(replica.replica_id)

    def _shared_rates(self, pool: str) -> Rates | None:
        """Return the mean rates of a pool's replicas, which are alike; of all, before one of the pool has outcomes."""
        own = shared_rates(replica.rates for replica in self.replicas if replica.endpoint.pool == pool)
        return own or shared_rates(replica.rates for replica in self.replicas)

    def reported(self, replica: ReplicaEstimator, report: LoadReport | None, now_s: float) -> None:
        """Learn from a load report that is already in `replica.report`; None: its telemetry went silent."""
        if report is None:
            replica.pending.silent()
            return
        replica.pending.reported(report.waiting_tokens, report.accepted, now_s)
        replica.fetch_s_per_token = report.tiers.fetch_s_per_token if report.tiers is not None else 0.0
        if not self.reads_prompts:
            return
        if replica.tells_rate and not replica.rates.outcomes:
            replica.rates = LearnedRates(rates_of(report.prefill_tokens_per_s), is_told=True)
        if report.kv_capacity_tokens > 0 and report.kv_capacity_tokens != replica.kv_tokens:
            replica.kv_tokens = report.kv_capacity_tokens
            source = self.residency.source(replica.replica_id)
            if source is not None:
                source.resize(int(report.kv_capacity_tokens * self.bytes_per_token))

    def probed(self, replica: ReplicaEstimator, probes: Sequence[ProbeOutcome]) -> None:
        """Learn a replica's rates from probes, at least one. Does nothing once requests have told them."""
        if self.wants_rates(replica):
            replica.rates.learn_probes(probes)

    def wants_rates(self, replica: ReplicaEstimator) -> bool:
        """Return whether a replica's rates are used and nothing has told them yet."""
        return self.reads_prompts and not replica.rates.outcomes and not replica.tells_rate

    def apply_delta(self, replica_id: str, delta: ResidencyDelta) -> bool:
        """Apply a replica's delta of its cache contents.

        Returns:
            False where deltas were missed: ask the replica for a snapshot.
        """
        return self.residency.apply_delta(replica_id, delta)

    def tick(self, now_s: float) -> None:
        """Do the upkeep that is due; call about once a second."""
        if not self.reads_prompts:
            return
        self.residency.tick(now_s)
        self.forgotten = self.efficiency.forgotten
        passed_s = now_s - self._relaxed_s
        relaxes = passed_s >= RELAX_EVERY_S
        if relaxes:
            self._relaxed_s = now_s
        pools = {replica.endpoint.pool for replica in self.replicas}
        rates = {pool: self._shared_rates(pool) for pool in pools}
        for replica in self.replicas:
            shared = rates[replica.endpoint.pool]
            if shared is None:
                return
            if relaxes:
                replica.rates.relax(min(passed_s, MOST_RELAXED_S), shared)
            elif replica.rates.is_new and not replica.tells_rate:
                # With the default prior, a replica that had no requests yet could look fastest.
                replica.rates.expect(shared)

    # --- questions of policies and flow control

    def work_rate(self, replica: ReplicaEstimator) -> WorkRate:
        """Return the prompts that come to a replica and to those that do the same."""
        return self.prefill_work if replica.endpoint.role is PREFILL else self.work

    def match(self, chain: ChunkChain) -> PrefixMatch:
        """Return how many leading chunks of a prompt each replica holds, with the prompt's estimated tokens."""
        if not self.reads_prompts:
            return NO_MATCH
        match = self.residency.match(chain)
        longest, ends = match.longest, match.token_ends
        if longest and ends[0] and not ends[longest - 1]:
            ends = match.token_ends = self._filled(chain, ends)
        # Exact replicas report where their chunks end in tokens; the rest is estimated from its bytes.
        known = ends[longest - 1] if longest else 0
        unknown_bytes = chain.size_bytes - chain.ends[longest - 1] if known else chain.size_bytes
        match.tokens = chain.tokens or known + unknown_bytes / self.bytes_per_token
        return match

    def _filled(self, chain: ChunkChain, ends: Sequence[int]) -> list[int]:
        """Return the token ends; a missing one is estimated from the last known one and the bytes in between."""
        filled = list(ends)
        last, last_byte = 0, 0
        for position, end in enumerate(ends):
            if end:
                last, last_byte = end, chain.ends[position]
            else:
                filled[position] = last + round((chain.ends[position] - last_byte) / self.bytes_per_token)
        return filled

    def uncached_tokens(self, request: RoutingRequest) -> float:
        """Return the prompt tokens to compute on the replica that holds most of the prompt."""
        if not request.chain.ends:
            return _unread_tokens(request)
        match = request.match
        return match.tokens - match.cached_tokens(request.chain, match.longest)

    def s_per_token(self, replica: ReplicaEstimator) -> float:
        """Return the seconds that a replica takes to prefill one token; 0: not known."""
        if self.reads_prompts:
            return replica.rates.now.s_per_token
        report = replica.report
        return 1.0 / report.prefill_tokens_per_s if report is not None and report.prefill_tokens_per_s > 0 else 0.0

    # --- a request's life

    def expect(self, request: RoutingRequest, replica: ReplicaEstimator) -> Expectation:
        """Count a request's work on the replica that it was just given to, as of `request.now_s`."""
        now_s = request.now_s
        if not self.reads_prompts:
            return self._expect_unread(request, replica)
        chain, match = request.chain, request.match
        matched = match.count(replica.replica_id)
        longest = match.longest
        tokens = match.tokens
        matched_tokens = match.cached_tokens(chain, matched)
        uncached = max(1.0, tokens - matched_tokens)
        if matched and not match.token_ends[matched - 1]:
            uncached = min(tokens, uncached + self.rounding.tokens)
        s_per_token = replica.rates.now.s_per_token
        loads_s = max(0.0, replica.adapters.loading_until_s - now_s)
        ahead = (replica.pending.wait_s(now_s, s_per_token) + loads_s) / s_per_token
        held = matched, chain.prefix_bytes(matched), matched_tokens
        expectation = Expectation(replica, chain, *held, tokens, uncached, ahead, replica.running, now_s)
        if longest:
            expectation.shares = chain.hashes[longest - 1]
            self.sharing.waits(expectation.shares)
        prefill_s = uncached * s_per_token
        if request.adapter:
            prefill_s += expectation.use_adapter(request.adapter)
        is_seen = request.stream or replica.endpoint.role is PREFILL  # a leg that only prefills ends with it
        expectation.number = replica.pending.add(uncached, now_s, s_per_token, stream=is_seen)
        self.work_rate(replica).count(replica, prefill_s, now_s)
        if replica.endpoint.transfer is not None and replica.answers:  # else nobody weighs what its streams lose
            replica.stop_streams(uncached, now_s)
        self.efficiency.arrived(chain)
        on_device = matched if match.device_counts is None else expectation.fetch(match)
        source = self.residency.source(replica.replica_id)
        if source is not None:
            expectation.prompt_number = source.sent(chain, on_device, now_s)
        return expectation

    def _expect_unread(self, request: RoutingRequest, replica: ReplicaEstimator) -> Expectation:
        """Count a request whose prompt is not read. Its work counts only on a replica that sends reports."""
        tokens, now_s = _unread_tokens(request), request.now_s
        number = 0
        if replica.report is not None:
            number = replica.pending.add(tokens, now_s, self.s_per_token(replica), stream=request.stream)
        held, running = (0, 0, 0.0), replica.engine.in_flight
        expectation = Expectation(replica, request.chain, *held, tokens, tokens, 0.0, running, now_s, number)
        if request.adapter:
            expectation.use_adapter(request.adapter)
        return expectation

    def prefilled(self, expectation: Expectation, now_s: float) -> None:
        """Note that a request's first token came; for an answer that is not streamed, the answer itself."""
        if expectation.prefilled_s is not None or expectation.ended:
            return
        expectation.prefilled_s = now_s
        replica = expectation.replica
        if expectation.loads:
            replica.adapters.loaded(now_s)
        if expectation.number:
            replica.pending.prefilled(expectation.number, now_s)
        replica.prefilled_tokens += expectation.uncached_tokens
        expectation.prefilled_before = replica.prefilled_tokens
        if not self.reads_prompts:
            return
        self.sharing.waits_no_more(expectation.shares)
        source = self.residency.source(replica.replica_id)
        if source is not None:
            source.prefilled(expectation.prompt_number, now_s)

    def finished(
        self,
        expectation: Expectation,
        usage: Usage,
        now_s: float,
        *,
        streamed: bool = True,
        answer: ChunkChain | None = None,
    ) -> None:
        """End a request whose answer is whole, and learn from it.

        Args:
            expectation: what `expect` returned for it.
            usage: the tokens that the answer says it used.
            now_s: when it ended, monotonic seconds.
            streamed: its first token's time was seen, so the replica's rates can be learned from it.
            answer: the chunks that the answer adds to the prompt's chain; None: it was not read, or adds none.
        """
        if expectation.ended:
            return
        self.prefilled(expectation, now_s)
        expectation.end(now_s)
        if not self.reads_prompts:
            return
        replica = expectation.replica
        prompt_tokens = float(usage.prompt_tokens or expectation.tokens)
        replica.kv_freed.fade(now_s)
        replica.kv_freed.counts[0] += prompt_tokens + (usage.completion_tokens or 0)
        if not expectation.is_fetched:
            self._learn(expectation, usage, prompt_tokens, streamed=streamed)
        source = self.residency.source(replica.replica_id)
        if source is None:
            self.efficiency.forget(replica.replica_id)  # it has left, so its work must not count in the balance
        elif answer is not None:
            source.answered(answer)

    def _learn(self, expectation: Expectation, usage: Usage, prompt_tokens: float, *, streamed: bool) -> None:
        """Learn from a prompt that the replica computed: its tokens, what was cached, and how long it took."""
        chain, replica = expectation.chain, expectation.replica
        told = usage.prompt_tokens
        if told and not chain.tokens and _LEAST_BYTES <= chain.size_bytes / told <= _MOST_BYTES:
            self._bytes_seen.observe(chain.size_bytes, told, _KEEP_BYTES)
            self.bytes_per_token = self._bytes_seen.mean
        cached_tokens = usage.cached_tokens
        if cached_tokens is None:
            cached_tokens = int(min(prompt_tokens, max(0.0, expectation.tokens - expectation.uncached_tokens)))
        elif expectation.matched_bytes and Signal.RESIDENCY not in replica.endpoint.signals:
            self.rounding.learn(prompt_tokens, cached_tokens, expectation.matched_bytes / chain.size_bytes)
        self.efficiency.answered(replica.replica_id, prompt_tokens, cached_tokens)
        if streamed and expectation.prefilled_s is not None and not expectation.loads:
            tokens = expectation.ahead_tokens + max(1.0, prompt_tokens - cached_tokens)
            replica.rates.learn(expectation.computing_s, tokens, expectation.running)

    def lost(self, expectation: Expectation, now_s: float) -> None:
        """End a request without a whole answer: the replica failed, or the client left."""
        if expectation.ended:
            return
        expectation.end(now_s)
        if expectation.prefilled_s is None and self.reads_prompts:
            self.sharing.waits_no_more(expectation.shares)
        replica = expectation.replica
        replica.pending.lost(expectation.number, now_s)
        if expectation.prefilled_s is not None or not self.reads_prompts:
            return
        if replica.endpoint.transfer is not None and replica.answers and not expectation.is_fetched:
            replica.stop_streams(-expectation.uncached_tokens, now_s)
        source = self.residency.source(replica.replica_id)
        if source is not None:
            source.lost(expectation.prompt_number, expectation.chain, expectation.matched_chunks)

    # --- upkeep

    def modes(self) -> Mapping[str, str]:
        """Return, by replica id, how its cache contents are known: `exact`, `observed` or `none`."""
        return self.residency.modes()

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        self.residency.check_integrity()
        known = {replica.replica_id for replica in self.replicas} if self.reads_prompts else set()
        if known != set(self.residency.replicas):
            raise AssertionError("the estimator and the residency know different replicas")
        for replica in self.replicas:
            replica.pending.check_integrity()
            replica.slack.check_integrity()
            replica.adapters.check_integrity()


def _unread_tokens(request: RoutingRequest) -> float:
    """Return the prompt tokens of a request whose prompt is not read: the given number, else by its body's size."""
    return request.chain.tokens or len(request.body) / BODY_BYTES_PER_TOKEN
