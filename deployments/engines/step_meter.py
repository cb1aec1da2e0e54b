"""Measures an engine's steps: how fast those without prompts are, and how much the others have in them; pure.

What steps have in them is a mean over time: a step counts by its seconds. If none takes longer than a planned step,
then tokens a second are at least `mean / planned` of those planned, whatever mix of small and large steps there was:
`router.replicas.plan_promise` judges by that.
"""

from deployments.engines.rates import BusyRate
from router.replicas.step_report import StepReport


class StepMeter:
    """Takes in an engine's steps over the last busy seconds."""

    def __init__(self) -> None:
        self._decode = BusyRate()
        self._sequences = BusyRate()
        self._prompts = BusyRate()

    def decoded(self, sequences: int, tokens: int, step_s: float) -> None:
        """Take in a step without prompts.

        Args:
            sequences: sequences that got tokens.
            tokens: tokens that they got.
            step_s: its seconds.
        """
        self._decode.observe(tokens, step_s)
        self._sequences.observe(sequences * step_s, step_s)

    def prefilled(self, tokens: int, steps: int, busy_s: float) -> None:
        """Take in that `steps` steps of `busy_s` seconds together computed `tokens` prompt tokens."""
        self._prompts.observe(tokens / steps * busy_s, busy_s)

    def report(self) -> StepReport:
        """Return what is known of the last busy seconds."""
        return StepReport(self._decode.per_s, self._sequences.per_s, self._prompts.per_s)
