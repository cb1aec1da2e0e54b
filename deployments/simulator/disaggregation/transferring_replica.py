"""Simulates an engine that batches continuously, and that hands KV blocks on or fetches them, in virtual time.

Each step decodes one token of every sequence past its prompt and prefills prompt tokens with what is left of its
budget, first come, first served. It takes as long as the cost model says for these tokens and contexts. Sequences that
fit no longer into the KV cache wait, and those behind them too.

A sequence is served whole here, or computed for another replica (its blocks are then held until they are fetched), or
continued here from blocks that another replica computed (it waits for room, then for the blocks, and its first step
computes the prompt's last token, as in vLLM).

Steps that differ by what their sequences attend to alone are computed as one: their times grow evenly, so their sum has
a closed form.

An engine of several lanes (data-parallel ranks, times the micro-batches of pipeline stages) steps them together, each
with a budget of its own. A prompt is computed by one rank, and its chunks follow one another through the stages: each
needs of the chunk before it what the same stage computed. The KV cache is counted as one for all lanes.
"""

from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import count
from math import ceil, sqrt
from typing import Generic, TypeVar

from deployments.engines.rates import BusyRate
from deployments.engines.sim.generation.adapters import SimAdapters
from deployments.simulator.disaggregation.engine_sequence import EngineSequence, Happened, Leg
from deployments.simulator.disaggregation.kv_memory import BLOCK_TOKENS, KvMemory
from deployments.simulator.disaggregation.step_times import Chunk, EngineTimes
from router.replicas.load_report import LoadReport

OwnerT = TypeVar("OwnerT")

_UNBOUNDED = 1 << 40
_ROUNDING = 1e-9


class TransferringReplica(Generic[OwnerT]):
    """One replica. Call `add` for each request, and `advance` at the time `next_s`.

    Args:
        times: its step times.
        kv_tokens: capacity of its KV cache, in tokens.
        step_tokens: tokens of the largest step, of each lane.
        max_sequences: most sequences that it runs at once, in all lanes.
        adapters: its LoRA adapters; None: it has none.
        block_tokens: tokens of a block of its KV cache.

    Attributes:
        kv: its KV blocks.
        next_s: time at which the steps under way end, when `advance` must be called; None: nothing is computed.
        wants: sequences that have got room and whose blocks are now to be fetched; the caller empties this list, and
            calls `arrived` for each of them when its blocks are here.
        gaps: seconds of a step, in tenths of a millisecond, and how many tokens of running answers it brought.
    """

    def __init__(  # noqa: PLR0913 - the limits of an engine
        self,
        times: EngineTimes,
        *,
        kv_tokens: int,
        step_tokens: int,
        max_sequences: int,
        adapters: SimAdapters | None = None,
        block_tokens: int = BLOCK_TOKENS,
    ) -> None:
        self.adapters = adapters
        self.kv = KvMemory(kv_tokens, block_tokens)
        self.next_s: float | None = None
        self.wants: list[EngineSequence[OwnerT]] = []
        self.gaps: dict[int, int] = {}
        self._times = times
        self._lanes = times.lanes
        self._ranks = times.lanes // times.stages
        self._tokens_per_step = times.tokens_per_step
        self._kv_tokens = kv_tokens
        self._step_tokens = step_tokens
        self._max_sequences = max_sequences
        self._waiting: deque[EngineSequence[OwnerT]] = deque()
        self._fetching: list[EngineSequence[OwnerT]] = []
        self._prefilling: list[EngineSequence[OwnerT]] = []
        self._decoding: list[tuple[int, int, EngineSequence[OwnerT]]] = []
        self._context = 0  # tokens that the decoding sequences attend to together
        self._decoded_steps = 0
        self._numbers = count()
        self._plan: list[tuple[EngineSequence[OwnerT], int, int]] = []  # a chunk's tokens, and its lane
        self._is_full = False
        self._began_s = 0.0
        self._steps = 0
        self._first_step_s = 0.0
        self._growth_s = 0.0  # by which each step takes longer than the one before
        self._prefill_rate = BusyRate()
        self._decode_rate = BusyRate()
        self._accepted = 0
        self._reports = 0

    @property
    def running(self) -> int:
        """Sequences in the batch."""
        return len(self._prefilling) + len(self._decoding)

    @property
    def is_idle(self) -> bool:
        """Whether no sequence is here, apart from blocks that are held for others."""
        return not (self.running or self._waiting or self._fetching)

    def add(  # noqa: PLR0913, PLR0917 - what a request is
        self,
        owner: OwnerT,
        leg: Leg,
        blocks: Sequence[int],
        prompt_tokens: int,
        output_tokens: int,
        now_s: float,
        adapter: str = "",
        answer_blocks: Sequence[int] = (),
    ) -> EngineSequence[OwnerT]:
        """Take a request at the time `now_s`, and return its sequence; `next_s` and `wants` may change.

        Args:
            owner: the caller's object for it.
            leg: what to do of it.
            blocks: hashes of its prompt's full blocks.
            prompt_tokens: tokens of its prompt, 1 or more.
            output_tokens: tokens of its answer, 1 or more; of a prompt that is computed for another replica 1 is.
            now_s: the time, seconds.
            adapter: the LoRA adapter that it is for; "": none.
            answer_blocks: hashes of the full blocks that its answer fills; empty: nobody asks for them again.
        """
        self._accepted += 1
        output = 1 if leg is Leg.COMPUTES else output_tokens
        sequence = EngineSequence(owner, leg, blocks, prompt_tokens, output, prompt_tokens, adapter=adapter)
        if leg is not Leg.COMPUTES:
            sequence.answer_blocks = answer_blocks
        self._waiting.append(sequence)
        self._interrupt(now_s)
        return sequence

    def arrived(self, sequence: EngineSequence[OwnerT], now_s: float) -> None:
        """Take in that a sequence's blocks have come; `next_s` may change."""
        self._fetching.remove(sequence)
        if sequence.lease is not None:
            self.kv.filled(sequence.lease, sequence.blocks)
        sequence.left = 1
        self._prefilling.append(sequence)
        self._interrupt(now_s)

    def computes_itself(self, sequence: EngineSequence[OwnerT], now_s: float) -> None:
        """Compute a sequence's prompt here, as its blocks do not come; `next_s` may change."""
        self._fetching.remove(sequence)
        sequence.leg = Leg.WHOLE
        sequence.left = sequence.prompt_tokens - sequence.cached_tokens
        self._prefilling.append(sequence)
        self._interrupt(now_s)

    def fetched(self, sequence: EngineSequence[OwnerT], now_s: float) -> None:
        """Free the blocks of a computed prompt, which another replica has fetched; `next_s` and `wants` may change."""
        if sequence.lease is not None:
            self.kv.give_back(sequence.lease)
            sequence.lease = None
        if self._waiting:
            self._interrupt(now_s)

    def advance(self) -> Happened[OwnerT]:
        """Move on to the time `next_s`; `next_s` and `wants` change."""
        happened: Happened[OwnerT] = Happened([], [], [])
        if self.next_s is None:
            return happened
        now_s, steps = self.next_s, self._steps
        busy_s = now_s - self._began_s
        running = len(self._decoding)
        if running:
            self._decoded_steps += steps
            self._context += running * steps
            tenths = round(busy_s / steps * 1e4)
            self.gaps[tenths] = self.gaps.get(tenths, 0) + running * steps
            self._decode_rate.observe(running * steps, busy_s)
        prefilled = 0
        done: list[EngineSequence[OwnerT]] = []
        for sequence, tokens, _ in self._plan:
            sequence.left -= tokens * steps
            prefilled += tokens * steps
            if not sequence.left:
                done.append(sequence)
        if prefilled:
            self._prefill_rate.observe(prefilled, busy_s)
        while self._decoding and self._decoding[0][0] <= self._decoded_steps:
            self._end(heappop(self._decoding)[2], happened)
        if done:
            self._prefilling = [sequence for sequence in self._prefilling if sequence.left]
        for sequence in done:
            self._prompt_done(sequence, happened)
        if not self._decoding:
            self._decoded_steps = 0
        self._begin(now_s)
        return happened

    def report(self, now_s: float) -> LoadReport:
        """Return its load report at the time `now_s`, which must not be after `next_s`."""
        return self.reports(now_s, (self._accepted,))[0]

    def reports(self, now_s: float, accepted: Sequence[int]) -> list[LoadReport]:
        """Return its load reports for several gateways, at the time `now_s`, which must not be after `next_s`.

        Args:
            now_s: the time, seconds.
            accepted: how many requests it has accepted from each gateway.
        """
        left = sum(sequence.left for sequence in self._prefilling)
        left += sum(sequence.left for sequence in self._waiting if sequence.leg is not Leg.CONTINUES)
        if self.next_s is not None and self._plan:
            left -= min(self._steps, self._steps_by(now_s)) * sum(tokens for _, tokens, _ in self._plan)
        self._reports += 1
        usage = self.kv.usage
        return [
            LoadReport(
                sequence=self._reports,
                running=self.running,
                waiting=len(self._waiting) + len(self._fetching),
                waiting_tokens=left,
                kv_usage=usage,
                kv_capacity_tokens=self._kv_tokens,
                prefill_tokens_per_s=self._prefill_rate.per_s,
                decode_tokens_per_s=self._decode_rate.per_s,
                accepted=each,
                step_tokens=self._step_tokens * self._ranks,
                gateways=len(accepted) if len(accepted) > 1 else 0,
            )
            for each in accepted
        ]

    def stop(self, now_s: float) -> list[tuple[EngineSequence[OwnerT], int]]:
        """End at once, as its machine is gone; return what was here, each with the tokens of its answer that came."""
        gone = self._steps_by(now_s) if self.next_s is not None else 0
        steps = self._decoded_steps + min(gone, self._steps)
        ended = [(sequence, 0) for sequence in (*self._waiting, *self._fetching, *self._prefilling)]
        for last_step, _, sequence in sorted(self._decoding, key=lambda entry: entry[:2]):
            missing = (last_step - steps) * self._tokens_per_step
            ended.append((sequence, max(1, sequence.output_tokens - ceil(missing))))
        self.next_s = None
        self._waiting.clear()
        self._fetching = []
        self._prefilling, self._decoding, self._plan = [], [], []
        return ended

    def _prompt_done(self, sequence: EngineSequence[OwnerT], happened: Happened[OwnerT]) -> None:
        if sequence.lease is not None and sequence.leg is not Leg.CONTINUES:
            self.kv.filled(sequence.lease, sequence.blocks)
        if sequence.leg is Leg.COMPUTES:
            if self.adapters is not None:
                self.adapters.end(sequence.adapter)
            happened.computed.append(sequence)
            return
        happened.began.append(sequence)
        self._context += sequence.prompt_tokens
        if sequence.output_tokens == 1:
            self._end(sequence, happened)
        else:
            last_step = self._decoded_steps + self._steps_for(sequence.output_tokens - 1)
            self._context += 1
            heappush(self._decoding, (last_step, next(self._numbers), sequence))

    def _end(self, sequence: EngineSequence[OwnerT], happened: Happened[OwnerT]) -> None:
        self._context -= sequence.prompt_tokens
        if sequence.output_tokens > 1:
            self._context -= 1 + self._steps_for(sequence.output_tokens - 1)
        if sequence.lease is not None:
            if sequence.answer_blocks:
                self.kv.filled(sequence.lease, (*sequence.blocks, *sequence.answer_blocks))
            self.kv.give_back(sequence.lease)
        if self.adapters is not None:
            self.adapters.end(sequence.adapter)
        happened.ended.append(sequence)

    def _interrupt(self, now_s: float) -> None:
        """Have the step under way be the last before something that has come is looked at."""
        if self.next_s is None:
            self._begin(now_s)
        elif self._steps > 1 and not self._is_full:
            self._steps = min(self._steps, self._steps_by(now_s, is_begun=True))
            self.next_s = self._began_s + self._lasts_s(self._steps)

    def _steps_for(self, tokens: int) -> int:
        """Return the steps that bring a sequence `tokens` tokens; with drafts a step brings several on average."""
        return tokens if self._tokens_per_step == 1.0 else ceil(tokens / self._tokens_per_step - _ROUNDING)

    def _lasts_s(self, steps: int) -> float:
        return steps * self._first_step_s + self._growth_s * steps * (steps - 1) / 2

    def _steps_by(self, now_s: float, *, is_begun: bool = False) -> int:
        """Return the steps that have ended by a time; `is_begun`: those that have begun, at least one."""
        gone_s, first_s, growth_s = now_s - self._began_s, self._first_step_s, self._growth_s
        if growth_s > 0.0:
            linear = first_s - growth_s / 2
            steps = (sqrt(linear * linear + 2 * growth_s * gone_s) - linear) / growth_s
        else:
            steps = gone_s / first_s
        whole = int(steps + _ROUNDING)
        if not is_begun:
            return whole
        return max(1, whole if steps - whole < _ROUNDING else whole + 1)

    def _begin(self, now_s: float) -> None:
        times, running, lanes = self._times, len(self._decoding), self._lanes
        left = [self._step_tokens - -(-running // lanes)] * lanes  # of each lane's budget
        plan = self._plan
        plan.clear()
        for sequence in self._prefilling:
            if not self._take_budget(sequence, left) and lanes == 1:
                break
        loading_s = self._take_in(left, now_s)
        if not plan and not running:
            self.next_s = None
            return
        chunks: list[Chunk] = []
        before: tuple[EngineSequence[OwnerT] | None, int] = None, 0
        for sequence, tokens, lane in plan:
            done = before[1] if before[0] is sequence else sequence.prompt_tokens - sequence.left
            chunks.append((lane, tokens, done + tokens / 2))
            before = sequence, done + tokens
        first_s, growth_s = times.step_s(running, self._context, chunks), times.growth_s(running, self._context)
        steps = 1 if plan else _UNBOUNDED
        self._is_full = max(left) <= 0
        if self._is_full and len(plan) == 1 and lanes == 1:
            # While one long prompt takes the whole budget, all steps are alike until it is nearly prefilled.
            sequence, tokens, _ = plan[0]
            steps = max(1, sequence.left // tokens)
            growth_s += times.prompt_growth_s(tokens, chunks[0][2])
        if running:
            steps = min(steps, self._decoding[0][0] - self._decoded_steps)
        if loading_s:
            first_s, steps = first_s + loading_s, 1  # nothing is computed while an adapter is loaded
        self._began_s, self._steps = now_s, steps
        self._first_step_s, self._growth_s = first_s, growth_s
        self.next_s = now_s + self._lasts_s(steps)

    def _take_budget(self, sequence: EngineSequence[OwnerT], left: list[int]) -> bool:
        """Plan a prompt's chunks in the next step, in what is left of its rank's lanes; False: nothing is."""
        wanted = sequence.left
        for lane in range(sequence.lane, self._lanes, self._ranks):
            tokens = min(wanted, left[lane])
            if tokens > 0:
                self._plan.append((sequence, tokens, lane))
                left[lane] -= tokens
                wanted -= tokens
        return wanted < sequence.left

    def _take_in(self, left: list[int], now_s: float) -> float:
        """Give blocks and a place in the step to those that wait, and take what they compute from their lane's budget.

        A prompt goes to the rank whose lane has the most left.

        Returns:
            Seconds that the adapters take to load which these need.
        """
        waiting, adapters, loading_s = self._waiting, self.adapters, 0.0
        while waiting and self.running + len(self._fetching) < self._max_sequences:
            lane = left.index(max(left)) if self._lanes > 1 else 0
            if left[lane] <= 0:
                break
            sequence = waiting[0]
            if adapters is not None and not adapters.fits(sequence.adapter):
                break
            lease = self.kv.take(sequence.blocks, sequence.prompt_tokens + sequence.output_tokens)
            if lease is None:
                break
            waiting.popleft()
            if adapters is not None:
                loading_s += adapters.begin(sequence.adapter)
            sequence.lease, sequence.lane, sequence.begun_s = lease, lane % self._ranks, now_s
            if sequence.leg is Leg.CONTINUES:
                self._fetching.append(sequence)
                self.wants.append(sequence)
                continue
            sequence.left = sequence.prompt_tokens - sequence.cached_tokens
            self._prefilling.append(sequence)
            self._take_budget(sequence, left)
        return loading_s
