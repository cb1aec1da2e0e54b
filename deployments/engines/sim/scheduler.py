"""The simulated engine's continuous batching: pure, one step after another; the caller lets the time pass.

A step works off up to `MAX_BATCHED_TOKENS` prompt tokens and decodes one token of every sequence that is past its
prompt. It lasts

    prefill tokens / prefill_tokens_per_s + inter_token_s + inter_token_per_seq_s * (sequences decoded - 1)

where the last two count only if something is decoded. Sequences wait, first come first served, for one of
`max_num_seqs` places and for KV blocks. When a running one needs a block and there is none, the one that came last
gives up its blocks and computes them again later, as in vLLM.
"""

from collections import deque

from cluster.spec.cluster_spec import SimSpec
from deployments.engines.events import KvEventHub
from deployments.engines.extra_keys import extra_of
from deployments.engines.interface import BlockRemoved, BlockStored
from deployments.engines.rates import BusyRate
from deployments.engines.sim.cache import KvCache
from deployments.engines.sim.prompt import boundary, token_ids
from deployments.engines.sim.sequence import Sequence, SequenceState

MAX_BATCHED_TOKENS = 2048
"""Prompt tokens in one step at most: vLLM's default for online serving on a CPU or a small GPU."""


class SimScheduler:
    """Sequences, their blocks and the steps that work on them.

    Use: `begin_step`, let that many seconds pass, `end_step`, give each sequence it returns its next token with
    `append` or end it with `finish`; `add` and `finish` may be called at any time.
    """

    def __init__(self, spec: SimSpec, events: KvEventHub) -> None:
        self._spec = spec
        self._events = events
        self.cache = KvCache(spec.kv_blocks, lambda hashes: events.emit(BlockRemoved(hashes)))
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._prefilling: list[tuple[Sequence, int]] = []
        self._decoding: list[Sequence] = []
        self.prefill_rate = BusyRate()
        self.decode_rate = BusyRate()
        self.preemptions = 0

    @property
    def running(self) -> int:
        """Sequences in the batch."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Sequences in the queue."""
        return len(self._waiting)

    @property
    def waiting_tokens(self) -> int:
        """Tokens not yet prefilled, of waiting and running sequences."""
        return sum(sequence.uncomputed_tokens for queue in (self._waiting, self._running) for sequence in queue)

    def add(self, sequence: Sequence) -> None:
        """Put a sequence at the end of the queue. Its prompt must fit the whole cache."""
        self._waiting.append(sequence)

    def finish(self, sequence: Sequence) -> None:
        """Take a sequence out, finished or aborted, and let its blocks go at once. Safe to call twice."""
        if sequence.state is SequenceState.RUNNING:
            self._running.remove(sequence)
            self._release(sequence)
        elif sequence.state is SequenceState.WAITING:
            self._waiting.remove(sequence)
        sequence.state = SequenceState.GONE

    def begin_step(self) -> float | None:
        """Plan the next step and return how many seconds it lasts; None: there is nothing to do."""
        budget = MAX_BATCHED_TOKENS
        self._prefilling, self._decoding = [], []
        for sequence in self._running:
            if not sequence.uncomputed_tokens:
                self._decoding.append(sequence)
            elif budget:
                budget -= self._plan_prefill(sequence, budget)
        while budget and self._waiting and len(self._running) < self._spec.max_num_seqs:
            if not self._admit(self._waiting[0]):
                break
            sequence = self._waiting.popleft()
            self._running.append(sequence)
            budget -= self._plan_prefill(sequence, budget)
        if not self._prefilling and not self._decoding:
            return None
        prefilled, decoded = MAX_BATCHED_TOKENS - budget, len(self._decoding)
        step_s = prefilled / self._spec.prefill_tokens_per_s
        if decoded:
            step_s += self._spec.inter_token_s + self._spec.inter_token_per_seq_s * (decoded - 1)
            self.decode_rate.observe(decoded, step_s)
        if prefilled:
            self.prefill_rate.observe(prefilled, step_s)
        return step_s

    def end_step(self) -> list[Sequence]:
        """End the step begun last; return the sequences that have sampled a token, in their order of arrival."""
        sampled = [sequence for sequence in self._decoding if sequence.state is SequenceState.RUNNING]
        for sequence, tokens in self._prefilling:
            if sequence.state is SequenceState.RUNNING:
                sequence.computed_tokens += tokens
                self._commit(sequence, sequence.computed_tokens // self._spec.block_tokens)
                if not sequence.uncomputed_tokens:
                    sampled.append(sequence)
        return sampled

    def append(self, sequence: Sequence, units: str) -> bool:
        """Add the token a sequence has sampled; False: the whole cache is too small for it to go on."""
        sequence.append(units)
        if sequence.state is not SequenceState.RUNNING:
            sequence.restart()
            return True
        missing = sequence.blocks_needed - sequence.blocks
        while missing > 0 and not self.cache.can_take(missing):
            victim = self._running[-1]
            if victim is sequence and len(self._running) == 1:
                return False
            self._preempt(victim)
            if victim is sequence:
                return True
        if missing > 0:
            self.cache.take(missing)
            sequence.blocks += missing
        self._commit(sequence, len(sequence.hashes))
        return True

    def _plan_prefill(self, sequence: Sequence, budget: int) -> int:
        tokens = min(sequence.uncomputed_tokens, budget)
        self._prefilling.append((sequence, tokens))
        return tokens

    def _admit(self, sequence: Sequence) -> bool:
        # The last token is always computed, for the logits that the next one is sampled from.
        reusable = sequence.hashes[: (sequence.target_tokens - 1) // self._spec.block_tokens]
        found = reusable[: self.cache.matched(reusable)]
        missing = sequence.blocks_needed - len(found)
        if not self.cache.can_take(missing, found):
            return False
        self.cache.hold(found)
        self.cache.take(missing)
        sequence.blocks = sequence.blocks_needed
        sequence.held = len(found)
        sequence.computed_tokens = len(found) * self._spec.block_tokens
        if sequence.cached_tokens is None:
            sequence.cached_tokens = sequence.computed_tokens
        sequence.state = SequenceState.RUNNING
        return True

    def _commit(self, sequence: Sequence, full_blocks: int) -> None:
        if not self._spec.prefix_caching:
            return  # blocks stay private, and are free again when the sequence ends
        first = new_from = sequence.held
        for index in range(first, min(full_blocks, len(sequence.hashes))):
            if not self.cache.commit(sequence.hashes[index]):
                self._tell_stored(sequence, new_from, index)
                new_from = index + 1
            sequence.held = index + 1
        self._tell_stored(sequence, new_from, sequence.held)

    def _tell_stored(self, sequence: Sequence, start: int, end: int) -> None:
        if start >= end or not self._events:
            return
        block_tokens, per_token = self._spec.block_tokens, sequence.prompt.units_per_token
        units = sequence.between(boundary(start * block_tokens, per_token), boundary(end * block_tokens, per_token))
        self._events.emit(
            BlockStored(
                block_hashes=tuple(sequence.hashes[start:end]),
                parent_block_hash=sequence.hashes[start - 1] if start else None,
                token_ids=token_ids(units, start * block_tokens, sequence.prompt),
                block_size=block_tokens,
                extra_keys=(extra_of([sequence.prompt.salt]),) if sequence.prompt.salt and not start else (),
            )
        )

    def _preempt(self, sequence: Sequence) -> None:
        self._running.remove(sequence)
        self._release(sequence)
        sequence.state = SequenceState.WAITING
        sequence.restart()
        self._waiting.appendleft(sequence)
        self.preemptions += 1

    def _release(self, sequence: Sequence) -> None:
        self.cache.release(sequence.hashes[: sequence.held], sequence.blocks - sequence.held)

    def check_integrity(self) -> None:
        """Prove that the cache's blocks are those of the running sequences and nothing else.

        Raises:
            AssertionError: they are not.
        """
        self.cache.check_integrity()
        if any(sequence.blocks or sequence.held for sequence in self._waiting):
            raise AssertionError("a waiting sequence has blocks")
        self.cache.check_held([(s.hashes[: s.held], s.blocks - s.held) for s in self._running])
