"""Step times of engines that share a machine's cores, for the twin."""

from collections.abc import Callable, Sequence

from deployments.simulator.disaggregation.step_times import Chunk
from deployments.twin.engines.measured_times import MeasuredTimes


class SharedCores(MeasuredTimes):
    """Step times that are longer by what was measured while so many engines compute.

    How many compute is looked at when steps begin: those under way are not changed. `EngineTimes` says what the methods
    return.

    Args:
        alone: step times of one engine by itself.
        slower: factor by which steps are longer while one, two, … engines compute.
        computing: returns how many do, the asking one included.
    """

    def __init__(self, alone: MeasuredTimes, slower: Sequence[float], computing: Callable[[], int]) -> None:
        super().__init__(alone.steps)
        self._slower, self._computing = slower, computing

    def step_s(self, running: int, context: int, chunks: Sequence[Chunk]) -> float:
        """Return the seconds of a step."""
        return self._factor() * super().step_s(running, context, chunks)

    def growth_s(self, running: int, context: int) -> float:
        """Return the seconds that each step takes longer: every sequence attends to one token more."""
        return self._factor() * super().growth_s(running, context)

    def prompt_growth_s(self, tokens: int, attended: float) -> float:
        """Return the seconds that each step takes longer, as its tokens attend to those of the step before."""
        return self._factor() * super().prompt_growth_s(tokens, attended)

    def _factor(self) -> float:
        return self._slower[min(len(self._slower), max(1, self._computing())) - 1]
