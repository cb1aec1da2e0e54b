"""The simulated engine's continuous batching, step by step. Pure: the caller lets the time pass.

A step prefills up to `MAX_BATCHED_TOKENS` prompt tokens, and decodes one token of every sequence whose prompt is done.
It lasts, in seconds,

    prefill tokens / prefill_tokens_per_s + inter_token_s + inter_token_per_seq_s * (sequences decoded - 1)
    + draft_token_s * drafted tokens

where the terms after the first count only if a sequence is decoded. One with a draft gets the tokens of it that are
right, and one more. Sequences wait, first come first served, for one of `max_num_seqs` places and for KV blocks. If a
running sequence needs a block and none is free, the last one admitted gives up its blocks and computes them again.

Of LoRA adapters only so many may be in the batch as there are slots: a sequence with another one waits, and those
behind it may go before. A step in which an adapter is loaded lasts that much longer.

A prompt may come from another engine, or be kept for one. A sequence that fetches takes its blocks when its turn comes,
and a place once they have come; then its last token alone is computed. One that is kept has ended, and holds its blocks
until `finish`.

Prompts' blocks may be copied to tiers below the device. A sequence whose prompt goes on there waits until they have
come back, and others run meanwhile.
"""

from collections import deque

from cluster.spec.model_parts.sim_spec import SimSpec
from deployments.engines.events import KvEventHub
from deployments.engines.interface import BlockRemoved
from deployments.engines.rates import BusyRate
from deployments.engines.sim.generation.adapters import SimAdapters
from deployments.engines.sim.generation.cache import KvCache
from deployments.engines.sim.generation.drafting import NO_DRAFT, Draft, Drafting
from deployments.engines.sim.generation.sequence import Sequence, SequenceState
from deployments.engines.sim.generation.stored_blocks import stored
from deployments.engines.sim.generation.text import TAIL_CHARS
from deployments.engines.sim.generation.tiers import NOTHING, SimTiers
from deployments.engines.speculation_meter import SpeculationMeter
from deployments.engines.step_meter import NO_ANSWERS, AnswersBeside, StepMeter

MAX_BATCHED_TOKENS = 2048
"""Most prompt tokens in one step: vLLM's default for online serving on a CPU or a small GPU."""


class SimScheduler:
    """Runs sequences in steps, and owns their queue, batch and blocks.

    Use: call `begin_step`, let that many seconds pass, call `end_step`. Then give each sequence that it returned its
    next token, and as many more as `accepted` says, with `append`, or end it with `finish` or `keep`. `add`, `finish`,
    `fetch_ended` and `load_ended` may be called at any time.

    Args:
        spec: timing and memory.
        events: delivers the cache's KV events.
        adapter_slots: LoRA adapters that may be loaded at once.
        drafting: drafts tokens; None: nothing does.
        tiers: the tiers below the device; None: there are none.

    Attributes:
        cache: the KV cache.
        tiers: the tiers below the device.
        adapters: the LoRA adapters.
        prefill_rate: prompt tokens per busy second.
        decode_rate: generated tokens per busy second.
        steps: measures how full and how fast its steps are.
        speculation: measures what drafts bring; None: nothing is drafted.
        preemptions: number of preemptions so far.
    """

    def __init__(
        self,
        spec: SimSpec,
        events: KvEventHub,
        adapter_slots: int = 0,
        drafting: Drafting | None = None,
        tiers: SimTiers | None = None,
    ) -> None:
        self._spec = spec
        self._drafting = drafting
        self._drafts: dict[Sequence, Draft] = {}
        self.speculation = SpeculationMeter() if drafting is not None else None
        self._events = events
        self.cache = KvCache(spec.kv_blocks, self._evicted)
        self.tiers = tiers or SimTiers(spec, NOTHING, events.emit)
        self._to_load: list[tuple[Sequence, float]] = []
        self.adapters = SimAdapters(adapter_slots, spec.adapter_load_s)
        self._load_s = 0.0
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._fetching: dict[Sequence, None] = {}
        self._to_fetch: list[Sequence] = []
        self._fetched: deque[Sequence] = deque()
        self._kept: dict[Sequence, None] = {}
        self._prefilling: list[tuple[Sequence, int]] = []
        self._decoding: list[Sequence] = []
        self.steps = StepMeter()
        self.prefill_rate = BusyRate()
        self.decode_rate = BusyRate()
        self.preemptions = 0

    @property
    def running(self) -> int:
        """Number of sequences in the batch."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Number of sequences that have no place yet: queued, or with a prompt that is or was fetched."""
        return len(self._waiting) + len(self._fetching) + len(self._fetched)

    @property
    def waiting_tokens(self) -> int:
        """Number of tokens still to prefill here, of waiting and running sequences."""
        queues = (self._waiting, self._fetching, self._fetched, self._running)
        return sum(sequence.tokens_to_compute for queue in queues for sequence in queue)

    @property
    def fetching(self) -> int:
        """Number of sequences whose prompts are being fetched."""
        return len(self._fetching)

    @property
    def fetched(self) -> int:
        """Number of sequences whose prompts were fetched and that wait for a place."""
        return len(self._fetched)

    @property
    def kept_blocks(self) -> int:
        """Number of blocks kept for other engines; a block of two kept sequences counts twice."""
        return sum(sequence.blocks for sequence in self._kept)

    def add(self, sequence: Sequence) -> None:
        """Put a sequence at the end of the queue. Its prompt must fit into the whole cache."""
        self._waiting.append(sequence)

    def finish(self, sequence: Sequence) -> None:
        """Remove a finished, aborted or kept sequence and release its blocks at once. Safe to call twice."""
        match sequence.state:
            case SequenceState.WAITING:
                self._waiting.remove(sequence)
            case SequenceState.FETCHING:
                del self._fetching[sequence]
            case SequenceState.FETCHED:
                self._fetched.remove(sequence)
            case SequenceState.RUNNING:
                self._leave_batch(sequence)
            case SequenceState.KEPT:
                del self._kept[sequence]
        if sequence.state not in {SequenceState.WAITING, SequenceState.GONE}:
            self._release(sequence)
        sequence.state = SequenceState.GONE

    def keep(self, sequence: Sequence) -> bool:
        """End a running sequence and keep its blocks; return False, with no change, if it has just lost them."""
        if sequence.state is not SequenceState.RUNNING:
            return False
        self._leave_batch(sequence)
        self._kept[sequence] = None
        sequence.state = SequenceState.KEPT
        return True

    def take_to_fetch(self) -> list[Sequence]:
        """Return the sequences whose prompts are to be fetched from now on, each once: they have their blocks."""
        begun, self._to_fetch = self._to_fetch, []
        return [sequence for sequence in begun if sequence.state is SequenceState.FETCHING]

    def fetch_ended(self, sequence: Sequence, *, has_come: bool) -> None:
        """Go on with a sequence whose prompt has been fetched, or cannot be had and is to be computed here.

        Args:
            sequence: the sequence; nothing happens if it has ended meanwhile.
            has_come: its prompt's blocks have come; only for one that `take_to_fetch` returned.
        """
        sequence.is_fetch = False
        if sequence.state is not SequenceState.FETCHING:
            return
        local_tokens = sequence.cached_tokens = sequence.computed_tokens
        if has_come:
            sequence.fetched_tokens = sequence.target_tokens - local_tokens
            sequence.cached_tokens = sequence.target_tokens
            self._commit(sequence, sequence.target_tokens // self._spec.block_tokens)
            sequence.computed_tokens = sequence.target_tokens - 1
        del self._fetching[sequence]
        self._fetched.append(sequence)
        sequence.state = SequenceState.FETCHED

    def take_to_load(self) -> list[tuple[Sequence, float]]:
        """Return the sequences whose blocks come back from below the device from now on, and after how many seconds."""
        begun, self._to_load = self._to_load, []
        return begun

    def load_ended(self, sequence: Sequence) -> None:
        """Go on with a sequence whose blocks have come back; nothing happens if it has ended meanwhile."""
        if sequence.state is SequenceState.FETCHING:
            self._commit(sequence, sequence.computed_tokens // self._spec.block_tokens)
            sequence.computed_tokens = min(sequence.computed_tokens, sequence.target_tokens - 1)  # the last one samples
            del self._fetching[sequence]
            self._fetched.append(sequence)
            sequence.state = SequenceState.FETCHED

    def begin_step(self) -> float | None:
        """Plan the next step and return its length in seconds; None: there is nothing to do."""
        budget = MAX_BATCHED_TOKENS
        self._prefilling, self._decoding, self._drafts, self._load_s = [], [], {}, 0.0
        for sequence in self._running:
            if not sequence.uncomputed_tokens:
                self._decoding.append(sequence)
            elif budget:
                budget -= self._plan_prefill(sequence, budget)
        budget = self._admit(budget)
        if not self._prefilling and not self._decoding:
            return None
        prefilled, decoded = MAX_BATCHED_TOKENS - budget, len(self._decoding)
        step_s, beside = prefilled / self._spec.prefill_tokens_per_s, NO_ANSWERS
        if decoded:
            drafted, accepted = self._draft()
            beside = AnswersBeside(1, decoded + accepted)
            step_s += self._spec.inter_token_s + self._spec.inter_token_per_seq_s * (decoded - 1)
            step_s += self._spec.draft_token_s * drafted
            self.decode_rate.observe(decoded + accepted, step_s)
            if not prefilled:
                self.steps.decoded(decoded, decoded + accepted, step_s)
                if self.speculation is not None:
                    self.speculation.decoded(step_s, decoded, drafted, decoded + accepted)
        if prefilled:
            self.steps.prefilled(prefilled, 1, step_s, beside)
            self.prefill_rate.observe(prefilled, step_s)
        return step_s + self._load_s

    def end_step(self) -> list[Sequence]:
        """End the current step; return the sequences that sampled a token: decoded ones, then those just prefilled."""
        sampled = [sequence for sequence in self._decoding if sequence.state is SequenceState.RUNNING]
        for sequence, tokens in self._prefilling:
            if sequence.state is SequenceState.RUNNING:
                sequence.computed_tokens += tokens
                self._commit(sequence, sequence.computed_tokens // self._spec.block_tokens)
                self._copy_below(sequence)
                if not sequence.uncomputed_tokens:
                    sampled.append(sequence)
        return sampled

    def accepted(self, sequence: Sequence) -> int:
        """Return the drafted tokens of a sequence that the step just ended found right."""
        return self._drafts.get(sequence, NO_DRAFT).accepted

    def append(self, sequence: Sequence, units: str) -> bool:
        """Add a sampled token to a sequence.

        Args:
            sequence: the sequence.
            units: the token's units.

        Returns:
            False: the whole cache is too small for the sequence to go on.
        """
        sequence.append(units)
        if sequence.state is not SequenceState.RUNNING:
            sequence.restart()
            return True
        missing = sequence.blocks_needed - sequence.blocks
        while missing > 0 and not self.cache.can_take(missing):
            victim = self._running[-1]
            if victim is sequence and not self._others_hold_blocks():
                return False
            self._preempt(victim)
            if victim is sequence:
                return True
        if missing > 0:
            self.cache.take(missing)
            sequence.blocks += missing
        self._commit(sequence, len(sequence.hashes))
        return True

    def _draft(self) -> tuple[int, int]:
        """Draft for the sequences that are decoded; return the drafted tokens, and those of them that are right."""
        if self._drafting is None or self.speculation is None:
            return 0, 0
        self._drafts = {sequence: self._drafting.draft(sequence.tail(TAIL_CHARS)) for sequence in self._decoding}
        found = [draft for draft in self._drafts.values() if draft.tokens]
        by_position = [sum(draft.accepted > place for draft in found) for place in range(self._drafting.tokens)]
        drafted, accepted = sum(draft.tokens for draft in found), sum(by_position)
        self.speculation.verified(len(found), drafted, by_position)
        return drafted, accepted

    def _admit(self, budget: int) -> int:
        """Let waiting sequences begin while there is room; return the prompt tokens left for this step."""
        while budget and len(self._running) < self._spec.max_num_seqs and (sequence := self._next_of(self._fetched)):
            self._fetched.remove(sequence)
            budget -= self._run(sequence, budget)
        while budget and len(self._running) < self._spec.max_num_seqs and (sequence := self._next_of(self._waiting)):
            if not self._take_blocks(sequence):
                break
            self._waiting.remove(sequence)
            if sequence.is_fetch:
                self._fetching[sequence] = None
                self._to_fetch.append(sequence)
                sequence.state = SequenceState.FETCHING
                continue
            loads = self._load(sequence)
            if sequence.cached_tokens is None:
                sequence.cached_tokens = sequence.computed_tokens
            if not loads:
                budget -= self._run(sequence, budget)
        return budget

    def _load(self, sequence: Sequence) -> bool:
        """Begin to fetch the blocks that follow in tiers below the device; return whether there are any."""
        block_tokens = self._spec.block_tokens
        follow = sequence.hashes[sequence.held : sequence.target_tokens // block_tokens]
        blocks = self.tiers.matched(follow)
        if blocks:
            self._to_load.append((sequence, self.tiers.fetch(follow[:blocks])))
            sequence.computed_tokens += blocks * block_tokens
            self._fetching[sequence] = None
            sequence.state = SequenceState.FETCHING
        return blocks > 0

    def _evicted(self, hashes: tuple[int, ...]) -> None:
        self._events.emit(BlockRemoved(hashes))

    def _copy_below(self, sequence: Sequence) -> None:
        """Copy a prompt's blocks to the tiers below; an answer's are once they come back in a prompt, as in vLLM."""
        if self.tiers:
            self.tiers.put(sequence.hashes[: min(sequence.held, sequence.prompt.tokens // self._spec.block_tokens)])

    def _next_of(self, queue: deque[Sequence]) -> Sequence | None:
        """Return the first of a queue whose adapter may be in the batch now."""
        return next((sequence for sequence in queue if self.adapters.fits(sequence.prompt.adapter)), None)

    def _leave_batch(self, sequence: Sequence) -> None:
        self._running.remove(sequence)
        self.adapters.end(sequence.prompt.adapter)

    def _others_hold_blocks(self) -> bool:
        return len(self._running) > 1 or bool(self._fetching or self._fetched or self._kept)

    def _run(self, sequence: Sequence, budget: int) -> int:
        self._running.append(sequence)
        self._load_s += self.adapters.begin(sequence.prompt.adapter)
        sequence.state = SequenceState.RUNNING
        return self._plan_prefill(sequence, budget)

    def _plan_prefill(self, sequence: Sequence, budget: int) -> int:
        tokens = min(sequence.uncomputed_tokens, budget)
        self._prefilling.append((sequence, tokens))
        return tokens

    def _take_blocks(self, sequence: Sequence) -> bool:
        # The last token is always computed: its logits give the next one.
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
        return True

    def _commit(self, sequence: Sequence, full_blocks: int) -> None:
        if not self._spec.prefix_caching:
            return  # blocks stay private and become free when the sequence ends
        first = new_from = sequence.held
        for index in range(first, min(full_blocks, len(sequence.hashes))):
            if not self.cache.commit(sequence.hashes[index]):
                self._emit_stored(sequence, new_from, index)
                new_from = index + 1
            sequence.held = index + 1
        self._emit_stored(sequence, new_from, sequence.held)

    def _emit_stored(self, sequence: Sequence, start: int, end: int) -> None:
        if start >= end or not self._events:
            return
        self._events.emit(stored(sequence, start, end, self._spec.block_tokens))

    def _preempt(self, sequence: Sequence) -> None:
        self._leave_batch(sequence)
        self._release(sequence)
        sequence.state = SequenceState.WAITING
        sequence.restart()
        self._waiting.appendleft(sequence)
        self.preemptions += 1

    def _release(self, sequence: Sequence) -> None:
        self.cache.release(sequence.hashes[: sequence.held], sequence.blocks - sequence.held)

    def check_integrity(self) -> None:
        """Check that exactly the sequences that run, fetch, have fetched or are kept hold blocks of the cache.

        Raises:
            AssertionError: the message says what is wrong.
        """
        self.cache.check_integrity()
        self.tiers.check_integrity()
        if any(sequence.blocks or sequence.held for sequence in self._waiting):
            raise AssertionError("a waiting sequence has blocks")
        self.adapters.check_integrity(sequence.prompt.adapter for sequence in self._running)
        holders = [*self._running, *self._fetching, *self._fetched, *self._kept]
        self.cache.check_held([(s.hashes[: s.held], s.blocks - s.held) for s in holders])
