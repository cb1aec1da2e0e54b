"""Step times of one replica by the cost model, fast enough for a simulator.

`ReplicaCost.step_at` takes about 30 µs. Its time has one part that depends on the numbers of tokens alone, and two that
are proportional to what the tokens attend to. The first is looked up here, the others are one multiplication each.
`tests/unit/deployments/simulator/disaggregation/test_step_times.py` holds the sum against the cost model.
"""

from collections.abc import Sequence
from typing import Protocol

from cluster.replica_cost.cost_model import ReplicaCost

Chunk = tuple[int, int, float]
"""Prompt tokens in a step: their lane, how many they are, and the tokens that each attends to on average."""


class EngineTimes(Protocol):
    """The step times of an engine.

    Attributes:
        lanes: parts of the batch that step together, each with its own budget of tokens: data-parallel ranks, or the
            micro-batches of pipeline stages.
        stages: pipeline stages; lane `r + i * lanes / stages` is the `i`-th micro-batch of rank `r`.
        tokens_per_step: mean tokens that a sequence gets from a step.
    """

    lanes: int
    stages: int
    tokens_per_step: float

    def step_s(self, running: int, context: int, chunks: Sequence[Chunk]) -> float:
        """Return the seconds of a step.

        Args:
            running: sequences that get a token, in all lanes.
            context: tokens that these attend to together.
            chunks: the prompt tokens that are computed beside them.
        """
        ...

    def growth_s(self, running: int, context: int) -> float:
        """Return the seconds by which each step of the same sequences takes longer than the one before."""
        ...

    def prompt_growth_s(self, tokens: int, attended: float) -> float:
        """Return the same for a prompt of which each step computes `tokens` further tokens."""
        ...


class StepTimes:
    """Step times of one replica of a model whose layers all attend to the whole context.

    Args:
        cost: the replica: one rank, one stage.

    Attributes:
        lanes: one.
        stages: one.
        tokens_per_step: one.
        cost: the replica's cost model.
        decode_s: seconds that a step takes longer for each token of context of a sequence that gets a token.
        prefill_s: seconds that a step takes longer for each prompt token and token that it attends to.

    Raises:
        ValueError: the replica has several ranks or stages, or the model has layers with a window.
    """

    __slots__ = ("_by_tokens", "cost", "decode_s", "lanes", "prefill_s", "stages", "tokens_per_step")

    def __init__(self, cost: ReplicaCost) -> None:
        if cost.layout.data > 1 or cost.layout.pipeline > 1:
            raise ValueError(f"steps of several ranks or stages overlap: {cost.layout}")
        if any(window is not None for window, _ in cost.shape.windows):
            raise ValueError(f"{cost.shape.name} has layers whose time is not proportional to the context")
        self.lanes = self.stages = 1
        self.tokens_per_step = 1.0
        self.cost = cost
        self._by_tokens: dict[tuple[int, int], float] = {}
        base_s = cost.step_at(1, 1, 0.0, 0.0).total
        self.decode_s = cost.step_at(1, 1, 1e6, 0.0).total / 1e6 - base_s / 1e6
        self.prefill_s = cost.step_at(1, 1, 0.0, 1e6).total / 1e6 - base_s / 1e6

    def tokens_s(self, decode: int, prefill: int) -> float:
        """Return the seconds of a step of `decode` sequences and `prefill` prompt tokens that attend to nothing."""
        found = self._by_tokens.get((decode, prefill))
        if found is None:
            found = self.cost.step_at(decode, prefill, 0.0, 0.0).total
            self._by_tokens[decode, prefill] = found
        return found

    def step_s(self, running: int, context: int, chunks: Sequence[Chunk]) -> float:
        """Return the seconds of a step, as `EngineTimes` says."""
        prefill = sum(tokens for _, tokens, _ in chunks)
        seconds = self.tokens_s(running, prefill) + self.decode_s * context
        for _, tokens, attended in chunks:
            seconds += self.prefill_s * tokens * attended
        return seconds

    def growth_s(self, running: int, context: int) -> float:
        """Return the seconds that each step takes longer: every sequence attends to one token more."""
        del context
        return self.decode_s * running

    def prompt_growth_s(self, tokens: int, attended: float) -> float:
        """Return the seconds that each step takes longer, as its tokens attend to those of the step before."""
        del attended
        return self.prefill_s * tokens * tokens

    def prompt_s(self, tokens: int, step_tokens: int, cached: int = 0) -> float:
        """Return the seconds to prefill a prompt alone.

        Args:
            tokens: its tokens.
            step_tokens: tokens of the largest step.
            cached: leading tokens that need not be computed.
        """
        total_s, done = 0.0, min(cached, tokens - 1)
        while done < tokens:
            chunk = min(step_tokens, tokens - done)
            total_s += self.tokens_s(0, chunk) + self.prefill_s * chunk * (done + chunk / 2)
            done += chunk
        return total_s
