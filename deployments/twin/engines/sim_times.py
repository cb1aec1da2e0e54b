"""Step times of the simulated engine, from a cluster file's `sim`."""

from collections.abc import Sequence

from cluster.spec.model_parts.sim_spec import SimSpec
from deployments.simulator.disaggregation.step_times import Chunk


class SimTimes:
    """Step times of one simulated engine; `EngineTimes` says what the methods return.

    Its steps depend on the numbers of sequences and prompt tokens alone, and not on what these attend to.

    Args:
        spec: its timing.

    Attributes:
        lanes: one.
        stages: one.
        tokens_per_step: one.
    """

    def __init__(self, spec: SimSpec) -> None:
        self.lanes = self.stages = 1
        self.tokens_per_step = 1.0
        self._spec = spec

    def step_s(self, running: int, context: int, chunks: Sequence[Chunk]) -> float:
        """Return the seconds of a step."""
        del context
        spec = self._spec
        seconds = sum(tokens for _, tokens, _ in chunks) / spec.prefill_tokens_per_s
        return seconds + (spec.inter_token_s + spec.inter_token_per_seq_s * (running - 1) if running else 0.0)

    def growth_s(self, running: int, context: int) -> float:
        """Return 0: all steps of the same sequences take equally long."""
        del running, context
        return 0.0

    def prompt_growth_s(self, tokens: int, attended: float) -> float:
        """Return 0: all steps of one prompt take equally long."""
        del tokens, attended
        return 0.0
