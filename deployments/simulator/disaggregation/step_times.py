"""Step times of one replica by the cost model, fast enough for a simulator.

`ReplicaCost.step_at` takes about 30 µs. Its time has one part that depends on the numbers of tokens alone, and two that
are proportional to what the tokens attend to. The first is looked up here, the others are one multiplication each.
`tests/unit/deployments/simulator/disaggregation/test_step_times.py` holds the sum against the cost model.
"""

from cluster.planning.cost_model import ReplicaCost


class StepTimes:
    """Step times of one replica of a model whose layers all attend to the whole context.

    Args:
        cost: the replica: one rank, one stage.

    Attributes:
        cost: the replica's cost model.
        decode_s: seconds that a step takes longer for each token of context of a sequence that gets a token.
        prefill_s: seconds that a step takes longer for each prompt token and token that it attends to.

    Raises:
        ValueError: the replica has several ranks or stages, or the model has layers with a window.
    """

    __slots__ = ("_by_tokens", "cost", "decode_s", "prefill_s")

    def __init__(self, cost: ReplicaCost) -> None:
        if cost.layout.data > 1 or cost.layout.pipeline > 1:
            raise ValueError(f"steps of several ranks or stages overlap: {cost.layout}")
        if any(window is not None for window, _ in cost.shape.windows):
            raise ValueError(f"{cost.shape.name} has layers whose time is not proportional to the context")
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
