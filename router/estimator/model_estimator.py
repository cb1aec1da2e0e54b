"""What one gateway expects of each replica of one model: who holds a prompt's prefix, what waits there, how fast it is.

Policies ask it (`match`, `replicas`); whoever runs requests tells it what happens and when: `picked` → `prefilled` →
`finished`, or `lost`. It reads no clock and does no I/O, so the simulator and the gateway drive the same code.
"""

from collections.abc import Mapping, Sequence
from math import exp

import msgspec

from router.estimator.decayed_sums import DecayedSums
from router.estimator.learned_rates import LearnedRates, Rates, rates_of, shared_rates
from router.estimator.replica_estimator import ReplicaEstimator
from router.prefix_cache.match import PrefixMatch
from router.prefix_cache.residency import Residency, ResidencyDelta
from router.prefix_cache.routing_efficiency import RoutingEfficiency
from router.prompt.chunk_chain import ChunkChain
from router.replicas.snapshot import LoadReport, ReplicaSnapshot
from router.request import RoutingRequest

UNKNOWN_KV_TOKENS = 100_000
"""Taken as the KV capacity of a replica that does not say: too little loses some affinity, too much claims too much."""
PRIOR_BYTES_PER_TOKEN = 4.0
ARRIVALS_TAU_S = 60.0
ARRIVALS_AT_LEAST_S = 5.0
WORK_TAU_S = 600.0
WORK_FADE_EVERY_S = 1.0
MAX_UTILISATION = 0.95
RELAX_EVERY_S = 10.0
MOST_RELAXED_S = 60.0
_KEEP_BYTES = 0.995


class Ticket(msgspec.Struct, eq=False, gc=False):
    """One request on one replica, from the pick to its end.

    Attributes:
        replica_id: where it was sent.
        chain: its prompt.
        matched_bytes: of its prompt, how much the replica was expected to hold.
        matched_tokens: the same in tokens.
        tokens: prompt tokens, as best known.
        uncached_tokens: those expected to be prefilled.
        ahead_tokens: what waited on the replica before it.
        running: sequences that were being decoded there.
        picked_s: when it was sent.
        shares: the last chunk of it that any replica held; 0: none.
        prefilled_s: when its first token came; None before.
    """

    replica_id: str
    chain: ChunkChain
    matched_chunks: int
    matched_bytes: int
    matched_tokens: float
    tokens: float
    uncached_tokens: float
    ahead_tokens: float
    running: int
    picked_s: float
    number: int = 0
    prompt_number: int = 0
    shares: int = 0
    prefilled_s: float | None = None
    ended: bool = False


class Usage(msgspec.Struct, frozen=True, gc=False):
    """What an answer's `usage` says; None where it doesn't."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None


class ModelEstimator:
    """Every replica of one model, as one gateway expects it to behave.

    Attributes:
        residency: who holds which prefix.
        replicas: by id.
        regret: how well affinity does, against one infinite shared cache.
        bytes_per_token: of canonical prompt bytes, learned from usage.
        work_s: prefill seconds given to all replicas lately, fading.
        forgotten: the share of what is evicted that is asked for again, as of the last `tick`.
        idle: the share of the time replicas are idle, as of the last pick.
        requests_per_s: how many requests each replica gets, as of the last pick.
    """

    def __init__(self, residency: Residency | None = None, regret: RoutingEfficiency | None = None) -> None:
        self.residency = residency or Residency()
        self.regret = regret or RoutingEfficiency()
        self.replicas: dict[str, ReplicaEstimator] = {}
        self.bytes_per_token = PRIOR_BYTES_PER_TOKEN
        self._bytes_seen = PRIOR_BYTES_PER_TOKEN * 100.0
        self._tokens_seen = 100.0
        self._arrivals = DecayedSums(ARRIVALS_TAU_S, 2)
        self._work_faded_s: float | None = None
        self._relaxed_s = 0.0
        self.idle = 1.0
        self.requests_per_s = 0.0
        self.work_s = 0.0
        self.forgotten = self.regret.forgotten
        self._sharing: dict[int, int] = {}
        self._matched_chain: ChunkChain | None = None
        self._match: PrefixMatch | None = None
        self._tokens = 0.0  # of the prompt that was matched last; 0: not asked for yet

    # --- replicas

    def add_replica(
        self, replica_id: str, *, exact: bool = False, kv_tokens: int = 0, caches: bool = True
    ) -> ReplicaEstimator:
        """Know a replica; one that is known already starts anew, knowing nothing.

        Args:
            replica_id: unique for one life of one replica.
            exact: it streams its residency.
            kv_tokens: tokens its KV cache holds; 0: not known, a report may say.
            caches: False: it caches no prompt.
        """
        self._match = None
        outlook = ReplicaEstimator(self._shared_rates() or rates_of())
        outlook.kv_tokens = kv_tokens
        self.replicas[replica_id] = outlook
        kv_bytes = int((kv_tokens or UNKNOWN_KV_TOKENS) * self.bytes_per_token)
        self.residency.add_replica(replica_id, exact=exact, kv_bytes=kv_bytes, caches=caches)
        return outlook

    def _shared_rates(self) -> Rates | None:
        return shared_rates(replica.rates for replica in self.replicas.values())

    def drop_replica(self, replica_id: str) -> None:
        """Forget a replica that is gone or has restarted, and all that was believed to be cached there."""
        self._match = None
        self.replicas.pop(replica_id, None)
        self.regret.forget(replica_id)
        self.residency.drop_replica(replica_id)

    def reported(self, replica_id: str, report: LoadReport | None, now_s: float) -> None:
        """Take a load report; None: the replica has fallen silent."""
        replica = self.replicas.get(replica_id)
        if replica is None:
            return
        replica.report = report
        if report is None:
            replica.pending.silent()
            return
        replica.pending.reported(report.waiting_tokens, report.accepted, now_s)
        if replica.tells_rate and not replica.rates.outcomes:
            replica.rates = LearnedRates(rates_of(report.prefill_tokens_per_s))
        if report.kv_capacity_tokens > 0 and report.kv_capacity_tokens != replica.kv_tokens:
            replica.kv_tokens = report.kv_capacity_tokens
            source = self.residency.source(replica_id)
            if source is not None:
                source.resize(int(report.kv_capacity_tokens * self.bytes_per_token))

    def apply_delta(self, replica_id: str, delta: ResidencyDelta) -> bool:
        """Take what a replica says of its cache; False: ask it for a snapshot."""
        self._match = None
        return self.residency.apply_delta(replica_id, delta)

    def tick(self, now_s: float) -> None:
        """Do what waits; call about once a second."""
        self._match = None
        self.residency.tick(now_s)
        self.forgotten = self.regret.forgotten
        passed_s = now_s - self._relaxed_s
        relaxes = passed_s >= RELAX_EVERY_S
        if relaxes:
            self._relaxed_s = now_s
        shared = self._shared_rates()
        if shared is None:
            return
        for replica in self.replicas.values():
            if relaxes:
                replica.rates.relax(min(passed_s, MOST_RELAXED_S), shared)
            elif replica.rates.is_new and not replica.tells_rate:
                # With a guess of its own, whoever has not been asked yet would look fastest.
                replica.rates.expect(shared)

    # --- what policies ask

    def match(self, chain: ChunkChain) -> PrefixMatch:
        """Return how many leading chunks of a prompt each replica holds."""
        if self._match is None or self._matched_chain is not chain:
            self._match = match = self.residency.match(chain)
            self._matched_chain = chain
            self._tokens = 0.0
            ends = match.token_ends
            if match.longest and ends[0] and not ends[match.longest - 1]:
                match.token_ends = self._filled(chain, ends)
        return self._match

    def _filled(self, chain: ChunkChain, ends: Sequence[int]) -> list[int]:
        """Return token ends with those that no replica has told yet counted in bytes from the last one told before."""
        filled = list(ends)
        last, last_byte = 0, 0
        for position, end in enumerate(ends):
            if end:
                last, last_byte = end, chain.ends[position]
            else:
                filled[position] = last + round((chain.ends[position] - last_byte) / self.bytes_per_token)
        return filled

    def sharing(self, chain: ChunkChain, chunks: int) -> int:
        """Return how many requests that wait for their prefill now also begin with a prompt's first `chunks` chunks.

        Counted are those of which no replica holds any more than that: a prefix that many prompts have in common.
        """
        return self._sharing.get(chain.hashes.item(chunks - 1), 0) if chunks else 0

    def tokens(self, chain: ChunkChain) -> float:
        """Return a prompt's tokens, as best known: replicas tell where chunks end, the rest is counted in bytes."""
        if chain.tokens:
            return chain.tokens
        match = self.match(chain)
        if self._tokens:
            return self._tokens
        longest = match.longest
        known = match.token_ends[longest - 1] if longest else 0
        unknown_bytes = chain.size_bytes - chain.ends[longest - 1] if known else chain.size_bytes
        self._tokens = known + unknown_bytes / self.bytes_per_token
        return self._tokens

    def cached_tokens(self, chain: ChunkChain, chunks: int) -> float:
        """Return how many tokens a prompt's first `chunks` chunks have, as best known."""
        if not chunks:
            return 0.0
        match = self.match(chain)
        known = match.token_ends[chunks - 1] if chunks <= len(match.token_ends) else 0
        return known or self.tokens(chain) * chain.ends[chunks - 1] / chain.size_bytes

    # --- a request's life

    def picked(self, request: RoutingRequest, replica: ReplicaSnapshot) -> Ticket:
        """Count a request on the replica it was just given to, at `request.now_s`."""
        chain, now_s, replica_id = request.chain, request.now_s, replica.replica_id
        outlook = self.replicas.get(replica_id) or self.add_replica(replica_id)
        match = self.match(chain)
        matched = match.count(replica_id)
        longest = match.longest
        tokens = self.tokens(chain)
        matched_tokens = self.cached_tokens(chain, matched) if matched else 0.0
        uncached = max(1.0, tokens - matched_tokens)
        s_per_token = outlook.rates.now.s_per_token
        ahead = outlook.pending.wait_s(now_s, s_per_token) / s_per_token
        held = matched, chain.prefix_bytes(matched), matched_tokens
        ticket = Ticket(replica_id, chain, *held, tokens, uncached, ahead, outlook.running(replica), now_s)
        if longest:
            ticket.shares = chain.hashes.item(longest - 1)
            self._sharing[ticket.shares] = self._sharing.get(ticket.shares, 0) + 1
        ticket.number = outlook.pending.add(uncached, now_s, s_per_token, stream=request.stream)
        self._count_work(outlook, uncached * s_per_token, now_s)
        self.regret.arrived(chain)
        source = self.residency.source(replica_id)
        if source is not None:
            ticket.prompt_number = source.sent(chain, matched, now_s)
        self._match = None
        return ticket

    def _count_work(self, outlook: ReplicaEstimator, work_s: float, now_s: float) -> None:
        arrivals = self._arrivals
        arrivals.fade(now_s)
        arrivals.values[0] += 1.0
        arrivals.values[1] += work_s
        span_s = arrivals.span_s(ARRIVALS_AT_LEAST_S) * len(self.replicas)
        self.requests_per_s = arrivals.values[0] / span_s
        self.idle = 1.0 - min(arrivals.values[1] / span_s, MAX_UTILISATION)
        since_s = self._work_faded_s
        if since_s is None or now_s - since_s > WORK_FADE_EVERY_S:
            self._work_faded_s = now_s
            kept = 1.0 if since_s is None else exp((since_s - now_s) / WORK_TAU_S)
            for other in self.replicas.values():
                other.work_s *= kept
            self.work_s = sum(other.work_s for other in self.replicas.values())
        outlook.work_s += work_s
        self.work_s += work_s

    def prefilled(self, ticket: Ticket, now_s: float) -> None:
        """The first token came; for answers that are not streamed, the whole answer."""
        if ticket.prefilled_s is not None or ticket.ended:
            return
        ticket.prefilled_s = now_s
        self._no_longer_shares(ticket)
        outlook = self.replicas.get(ticket.replica_id)
        if outlook is not None:
            outlook.pending.prefilled(ticket.number, now_s)
        source = self.residency.source(ticket.replica_id)
        if source is not None:
            source.prefilled(ticket.prompt_number, now_s)

    def _no_longer_shares(self, ticket: Ticket) -> None:
        left = self._sharing.get(ticket.shares, 0) - 1
        if left > 0:
            self._sharing[ticket.shares] = left
        else:
            self._sharing.pop(ticket.shares, None)

    def finished(
        self, ticket: Ticket, usage: Usage, now_s: float, *, streamed: bool = True, answer: ChunkChain | None = None
    ) -> None:
        """The answer ended as it should.

        Args:
            ticket: from `picked`.
            usage: what the answer said of its tokens.
            now_s: when.
            streamed: the first token's time was seen, so the replica's rates can be learned from it.
            answer: the chunks that the answer adds to the prompt's chain, where it was read and adds any.
        """
        if ticket.ended:
            return
        self.prefilled(ticket, now_s)
        ticket.ended = True
        chain = ticket.chain
        prompt_tokens = float(usage.prompt_tokens or ticket.tokens)
        if usage.prompt_tokens and not chain.tokens and chain.size_bytes:
            self._learn_bytes_per_token(chain.size_bytes, usage.prompt_tokens)
        cached_tokens = usage.cached_tokens
        if cached_tokens is None:
            cached_tokens = int(max(0.0, ticket.tokens - ticket.uncached_tokens))
        self.regret.answered(ticket.replica_id, prompt_tokens, cached_tokens)
        outlook = self.replicas.get(ticket.replica_id)
        if outlook is not None:
            outlook.kv_freed.fade(now_s)
            outlook.kv_freed.values[0] += prompt_tokens + (usage.completion_tokens or 0)
            if streamed and ticket.prefilled_s is not None:
                tokens = ticket.ahead_tokens + max(1.0, prompt_tokens - cached_tokens)
                outlook.rates.learn(ticket.prefilled_s - ticket.picked_s, tokens, ticket.running)
        source = self.residency.source(ticket.replica_id)
        if source is not None and answer is not None:
            source.answered(answer)
            self._match = None

    def _learn_bytes_per_token(self, size_bytes: int, tokens: int) -> None:
        self._bytes_seen = _KEEP_BYTES * self._bytes_seen + size_bytes
        self._tokens_seen = _KEEP_BYTES * self._tokens_seen + tokens
        self.bytes_per_token = self._bytes_seen / self._tokens_seen

    def lost(self, ticket: Ticket, now_s: float) -> None:
        """The request ended otherwise: the replica failed, or the client left."""
        if ticket.ended:
            return
        ticket.ended = True
        self._match = None
        if ticket.prefilled_s is None:
            self._no_longer_shares(ticket)
        outlook = self.replicas.get(ticket.replica_id)
        if outlook is not None:
            outlook.pending.lost(ticket.number, now_s)
        source = self.residency.source(ticket.replica_id)
        if source is not None and ticket.prefilled_s is None:
            source.lost(ticket.prompt_number, ticket.chain, ticket.matched_chunks)

    # --- upkeep

    def modes(self) -> Mapping[str, str]:
        """Return how each replica's residency is known: `exact` or `observed`."""
        return self.residency.modes()

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        self.residency.check_integrity()
        if set(self.replicas) != set(self.residency.index.replicas):
            raise AssertionError("the outlook and the index know different replicas")
        for replica in self.replicas.values():
            replica.pending.check_integrity()
