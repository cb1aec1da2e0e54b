"""Measures an engine's steps: how fast those without prompts are, how full the others, and what prompts add; pure.

What steps have in them is a mean over time: a step counts by its seconds. If none takes longer than a planned step,
then tokens a second are at least `mean / planned` of those planned, whatever mix of small and large steps there was:
`router.replicas.plan_promise` judges by that.

What a prompt token adds to a step is fitted by least squares over all steps: seconds = a step without prompts, where
any answer goes on in it, + prompt tokens times what each adds. Under a load of many prompts there may be no step
without any, so it is not seen by itself.
"""

from typing import Final, NamedTuple

from cluster.autoscaling.ewma import kept
from deployments.engines.rates import BusyRate
from router.estimator.learning.least_squares import nonnegative_fit
from router.replicas.step_report import StepReport

MEMORY_S: Final = 10.0
"""Busy seconds after which a step has faded to a third, as in `BusyRate`."""
LEAST_VARIATION: Final = 0.1
"""How far prompt tokens must go apart from the answers beside them, as a share of them, to tell what they add."""


class AnswersBeside(NamedTuple):
    """Answers that go on in steps with prompts.

    Attributes:
        steps: steps that had any.
        tokens: those that answers got in them after their first.
    """

    steps: int
    tokens: int


NO_ANSWERS: Final = AnswersBeside(0, 0)


class _Sums(NamedTuple):
    """Fading sums over steps.

    Attributes:
        answers: tokens of answers after their first.
        plain: steps that had such.
        plain_2: squares of `plain`; and so on: products of two, where `tokens` are those of prompts.
    """

    answers: float = 0.0
    plain: float = 0.0
    plain_2: float = 0.0
    plain_tokens: float = 0.0
    tokens_2: float = 0.0
    plain_seconds: float = 0.0
    tokens_seconds: float = 0.0

    def split(self) -> tuple[float, float] | None:
        """Return the seconds of a step without prompts and those that a prompt token adds; None: steps do not tell."""
        told = self.tokens_2 - (self.plain_tokens**2 / self.plain_2 if self.plain_2 else 0.0)
        if told <= LEAST_VARIATION**2 * self.tokens_2:
            return None
        moments = [[self.plain_2, self.plain_tokens], [self.plain_tokens, self.tokens_2]]
        plain_s, added_s = nonnegative_fit(moments, [self.plain_seconds, self.tokens_seconds])
        return plain_s, added_s


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
        self._take(1, AnswersBeside(1, tokens), 0.0, step_s)

    def prefilled(self, tokens: int, steps: int, busy_s: float, answers: AnswersBeside = NO_ANSWERS) -> None:
        """Take in steps with prompts.

        Args:
            tokens: prompt tokens that they computed.
            steps: their number.
            busy_s: seconds of all of them.
            answers: that went on in them.
        """
        self._prompts.observe(tokens / steps * busy_s, busy_s)
        self._take(steps, answers, tokens, busy_s)

    def report(self) -> StepReport:
        """Return what is known of the last busy seconds."""
        answers = added = 0.0
        split = self._all.split()
        if split is not None:
            plain_s, added_s = split
            added = 1.0 / added_s if added_s > 0.0 else 0.0
            busy_s = self._all.plain * plain_s
            answers = self._all.answers / busy_s if busy_s > 0.0 else 0.0
        return StepReport(self._decode.per_s, self._sequences.per_s, self._prompts.per_s, answers, added)

    def _take(self, steps: int, answers: AnswersBeside, tokens: float, busy_s: float) -> None:
        keep, old, plain = kept(busy_s, MEMORY_S), self._all, answers.steps
        self._all = _Sums(
            old.answers * keep + answers.tokens,
            old.plain * keep + plain,
            old.plain_2 * keep + plain * plain / steps,
            old.plain_tokens * keep + plain * tokens / steps,
            old.tokens_2 * keep + tokens * tokens / steps,
            old.plain_seconds * keep + plain * busy_s / steps,
            old.tokens_seconds * keep + tokens * busy_s / steps,
        )
