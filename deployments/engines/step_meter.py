"""Measures an engine's steps: how fast those without prompts are, how full the others, and what prompts add; pure.

What steps have in them is a mean over time: a step counts by its seconds. If none takes longer than a planned step,
then tokens a second are at least `mean / planned` of those planned, whatever mix of small and large steps there was:
`router.replicas.plan_promise` judges by that.

What a prompt token adds to a step is fitted by least squares over all steps: seconds = a step without prompts + tokens
times what each adds. Under a load of many prompts there may be no step without any, so it is not seen by itself.
"""

from typing import Final, NamedTuple

from cluster.autoscaling.ewma import kept
from deployments.engines.rates import BusyRate
from router.replicas.step_report import StepReport

MEMORY_S: Final = 10.0
"""Busy seconds after which a step has faded to a third, as in `BusyRate`."""
LEAST_VARIATION: Final = 0.1
"""Standard deviation of the prompt tokens a step, as a share of the mean, from which what they add can be fitted."""


class _Sums(NamedTuple):
    """Fading sums over steps: their number, sequences, prompt tokens and seconds, and products of two."""

    steps: float = 0.0
    sequences: float = 0.0
    tokens: float = 0.0
    seconds: float = 0.0
    tokens_2: float = 0.0
    tokens_seconds: float = 0.0

    def split(self) -> tuple[float, float] | None:
        """Return the seconds of a step without prompts and those that a prompt token adds; None: steps do not tell."""
        if not self.tokens:
            return None
        n, tokens, seconds = self.steps, self.tokens / self.steps, self.seconds / self.steps
        variance = self.tokens_2 / n - tokens**2
        if variance <= (LEAST_VARIATION * tokens) ** 2:
            return None
        added_s = min(max(0.0, self.tokens_seconds / n - tokens * seconds) / variance, seconds / tokens)
        return seconds - added_s * tokens, added_s


class StepMeter:
    """Takes in an engine's steps over the last busy seconds."""

    def __init__(self) -> None:
        self._decode = BusyRate(MEMORY_S)
        self._sequences = BusyRate(MEMORY_S)
        self._prompts = BusyRate(MEMORY_S)
        self._all = _Sums()

    def decoded(self, sequences: int, tokens: int, step_s: float) -> None:
        """Take in a step without prompts.

        Args:
            sequences: sequences that got tokens.
            tokens: tokens that they got.
            step_s: its seconds.
        """
        self._decode.observe(tokens, step_s)
        self._sequences.observe(sequences * step_s, step_s)
        self._take(1, sequences, 0.0, step_s)

    def prefilled(self, tokens: int, steps: int, busy_s: float, sequences: int) -> None:
        """Take in steps with prompts.

        Args:
            tokens: prompt tokens that they computed.
            steps: their number.
            busy_s: seconds of all of them.
            sequences: sequences that got tokens after their first in them, added up over the steps.
        """
        self._prompts.observe(tokens / steps * busy_s, busy_s)
        self._take(steps, sequences, tokens, busy_s)

    def report(self) -> StepReport:
        """Return what is known of the last busy seconds."""
        answers = added = 0.0
        split = self._all.split()
        if split is not None:
            plain_s, added_s = split
            added = 1.0 / added_s if added_s > 0.0 else 0.0
            answers = self._all.sequences / self._all.steps / plain_s if plain_s > 0.0 else 0.0
        return StepReport(self._decode.per_s, self._sequences.per_s, self._prompts.per_s, answers, added)

    def _take(self, steps: int, sequences: float, tokens: float, busy_s: float) -> None:
        keep, old = kept(busy_s, MEMORY_S), self._all
        self._all = _Sums(
            old.steps * keep + steps,
            old.sequences * keep + sequences,
            old.tokens * keep + tokens,
            old.seconds * keep + busy_s,
            old.tokens_2 * keep + tokens * tokens / steps,
            old.tokens_seconds * keep + tokens * busy_s / steps,
        )
