"""Simulates a replica that prefills and decodes in batches, in virtual time.

Its timing is that of the simulated engine (`deployments.engines.sim.generation.scheduler`): each step prefills at most
`MAX_BATCHED_TOKENS` prompt tokens and decodes one token of every sequence past its prompt. While the same sequences are
decoded and the same prompt fills the budget, all steps take equally long, so they are computed as one. That is why a
fleet's day is simulated in seconds. `tests/unit/deployments/simulator/test_batching_replica.py` compares it with the
engine's own scheduler, step by step. KV memory is not simulated: it is assumed to be enough for `max_num_seqs`
sequences.
"""

from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from math import ceil
from typing import Generic, TypeVar

from cluster.spec.model_parts.sim_spec import SimSpec
from deployments.engines.rates import BusyRate
from deployments.engines.sim.generation.scheduler import MAX_BATCHED_TOKENS
from router.replicas.load_report import LoadReport

OwnerT = TypeVar("OwnerT")

_UNBOUNDED = 1 << 40


@dataclass(slots=True)
class BatchedSequence(Generic[OwnerT]):
    """One request on the replica.

    Attributes:
        owner: the caller's object for it, returned at its first token and at its end.
        left: prompt tokens still to prefill.
        output_tokens: tokens of its whole answer.
    """

    owner: OwnerT
    left: int
    output_tokens: int


class BatchingReplica(Generic[OwnerT]):
    """One replica. Call `add` for each request, and `advance` at the time `next_s`.

    Args:
        spec: its timing.

    Attributes:
        next_s: time of the next event at which `advance` must be called; None: the replica is idle.
    """

    def __init__(self, spec: SimSpec) -> None:
        self._spec = spec
        self._waiting: deque[BatchedSequence[OwnerT]] = deque()
        self._prefilling: deque[BatchedSequence[OwnerT]] = deque()
        self._decoding: list[tuple[int, int, BatchedSequence[OwnerT]]] = []
        self._numbers = count()
        self._decoded_steps = 0
        self._rate = BusyRate()
        self._began_s = 0.0
        self._step_s = 0.0
        self._steps = 0
        self._step_prefill: list[tuple[BatchedSequence[OwnerT], int]] = []
        self._accepted = 0
        self._reports = 0
        self.next_s: float | None = None

    def add(self, owner: OwnerT, prompt_tokens: int, output_tokens: int, now_s: float) -> None:
        """Take a request at the time `now_s`; `next_s` may change.

        Args:
            owner: the caller's object for it.
            prompt_tokens: tokens to prefill; at least 1 is counted.
            output_tokens: tokens to generate; at least 1 is counted.
            now_s: the time, seconds.
        """
        self._accepted += 1
        self._waiting.append(BatchedSequence(owner, max(1, prompt_tokens), max(1, output_tokens)))
        if self.next_s is None:
            self._begin(now_s)
        elif self._steps > 1 and not self._is_full():
            # The step under way ends first, then the next one takes the request in.
            self._steps = min(self._steps, max(1, ceil((now_s - self._began_s) / self._step_s - 1e-9)))
            self.next_s = self._began_s + self._steps * self._step_s

    def advance(self) -> tuple[list[OwnerT], list[OwnerT]]:
        """Move on to the time `next_s`.

        Returns:
            The owners of the requests whose first token came, and of those whose answer ended. A request with a single
            output token is in both.
        """
        if self.next_s is None:
            return [], []
        now_s = self.next_s
        steps = self._steps
        if self._decoding:
            self._decoded_steps += steps
        first: list[BatchedSequence[OwnerT]] = []
        prefilled = 0
        for sequence, tokens in self._step_prefill:
            sequence.left -= tokens * steps
            prefilled += tokens * steps
            if not sequence.left:
                first.append(sequence)
        if prefilled:
            self._rate.observe(prefilled, steps * self._step_s)
        ended = []
        while self._decoding and self._decoding[0][0] <= self._decoded_steps:
            ended.append(heappop(self._decoding)[2].owner)
        if not self._decoding:
            self._decoded_steps = 0
        for sequence in first:
            self._prefilling.popleft()
            if sequence.output_tokens == 1:
                ended.append(sequence.owner)
            else:
                last_step = self._decoded_steps + sequence.output_tokens - 1
                heappush(self._decoding, (last_step, next(self._numbers), sequence))
        self._begin(now_s)
        return [sequence.owner for sequence in first], ended

    def report(self, now_s: float) -> LoadReport:
        """Return its load report at the time `now_s`, which must not be after `next_s`."""
        left = sum(sequence.left for sequence in self._waiting) + sum(sequence.left for sequence in self._prefilling)
        if self.next_s is not None and self._step_prefill:
            done = int((now_s - self._began_s) / self._step_s + 1e-9)
            left -= min(done, self._steps) * sum(tokens for _, tokens in self._step_prefill)
        self._reports += 1
        return LoadReport(
            sequence=self._reports,
            running=len(self._prefilling) + len(self._decoding),
            waiting=len(self._waiting),
            waiting_tokens=left,
            kv_usage=0.0,
            kv_capacity_tokens=self._spec.kv_blocks * self._spec.block_tokens,
            prefill_tokens_per_s=self._rate.per_s,
            decode_tokens_per_s=0.0,
            accepted=self._accepted,
            step_tokens=MAX_BATCHED_TOKENS,
        )

    def _is_full(self) -> bool:
        """Return whether another request cannot join the steps under way: no token budget or no batch place is left."""
        budget = sum(tokens for _, tokens in self._step_prefill)
        running = len(self._prefilling) + len(self._decoding)
        return budget >= MAX_BATCHED_TOKENS or running >= self._spec.max_num_seqs

    def _begin(self, now_s: float) -> None:
        spec = self._spec
        budget = MAX_BATCHED_TOKENS
        self._step_prefill = []
        for sequence in self._prefilling:
            budget = self._plan(sequence, budget)
            if not budget:
                break
        while budget and self._waiting and len(self._prefilling) + len(self._decoding) < spec.max_num_seqs:
            sequence = self._waiting.popleft()
            self._prefilling.append(sequence)
            budget = self._plan(sequence, budget)
        if not self._step_prefill and not self._decoding:
            self.next_s = None
            return
        # While one long prompt takes the whole budget, all steps are alike until it is nearly prefilled.
        steps = 1 if self._step_prefill else _UNBOUNDED
        if self._step_prefill and not budget and len(self._step_prefill) == 1:
            steps = max(1, self._step_prefill[0][0].left // MAX_BATCHED_TOKENS)
        self._step_s = (MAX_BATCHED_TOKENS - budget) / spec.prefill_tokens_per_s
        if self._decoding:
            steps = min(steps, self._decoding[0][0] - self._decoded_steps)
            self._step_s += spec.inter_token_s + spec.inter_token_per_seq_s * (len(self._decoding) - 1)
        self._began_s = now_s
        self._steps = steps
        self.next_s = now_s + steps * self._step_s

    def _plan(self, sequence: BatchedSequence[OwnerT], budget: int) -> int:
        tokens = min(sequence.left, budget)
        self._step_prefill.append((sequence, tokens))
        return budget - tokens
