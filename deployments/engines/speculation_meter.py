"""Measures what speculative decoding brings, from an engine's own steps; pure.

**How the speed-up over none is got.** Nothing is run twice. Of steps that only decode, the meter has their length, the
sequences in them, the drafted tokens that they verified and the tokens that came out. A drafted token makes a step
longer: it is one more token to compute, and may have taken time to draft. By how much is fitted, by least squares over
the steps with the number of sequences held fixed, as some steps have more drafted tokens than others. Then

    speed-up = tokens a sequence gets a step · (1 - drafted tokens a step · seconds of one / seconds of a step)

where the second factor is the length of such a step without its drafts, as a share of its length.

It stays unknown until the number of drafted tokens has varied, which it does where drafts are found in texts (`ngram`,
`suffix`). A draft model and heads draft the same number in every step, so nothing tells their time from that of the
sequences: their speed-up is not guessed. What is left out: the search for drafts in steps that found none (for n-grams
microseconds), and prompts that are computed in the same steps, which speculation makes neither faster nor slower.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from cluster.autoscaling.ewma import kept
from router.replicas.speculation_report import SpeculationReport

MEMORY_STEPS: Final = 1000.0
"""Steps after which one has faded to a third."""
LEAST_STEPS: Final = 30.0
"""Steps that must count before anything is said of them."""
LEAST_VARIATION: Final = 0.1
"""Standard deviation of the drafted tokens a step, as a share of the mean, from which the time of one can be fitted."""
_SAME: Final = 1e-6
"""Relative variance below which all steps have the same number of sequences."""


class _Steps(NamedTuple):
    """Fading sums over steps: their number, and of seconds, sequences and drafted tokens, also of products of two."""

    steps: float = 0.0
    tokens: float = 0.0
    seconds: float = 0.0
    sequences: float = 0.0
    drafted: float = 0.0
    sequences_2: float = 0.0
    sequences_drafted: float = 0.0
    drafted_2: float = 0.0
    sequences_seconds: float = 0.0
    drafted_seconds: float = 0.0

    def drafted_token_s(self) -> float | None:
        """Return the seconds that a drafted token adds to a step; None: the steps do not tell."""
        n, mean_drafted = self.steps, self.drafted / self.steps
        of_sequences = self.sequences_2 / n - (self.sequences / n) ** 2
        both = self.sequences_drafted / n - self.sequences * self.drafted / n**2
        of_drafted = self.drafted_2 / n - mean_drafted**2
        with_sequences = self.sequences_seconds / n - self.sequences * self.seconds / n**2
        with_drafted = self.drafted_seconds / n - self.drafted * self.seconds / n**2
        if of_sequences > _SAME * (self.sequences / n) ** 2:
            of_drafted -= both**2 / of_sequences
            with_drafted -= both * with_sequences / of_sequences
        if of_drafted <= (LEAST_VARIATION * mean_drafted) ** 2:
            return None
        return max(0.0, with_drafted / of_drafted)


class SpeculationMeter:
    """Counts drafts and their tokens, and measures what they bring."""

    def __init__(self) -> None:
        self._drafts = 0
        self._draft_tokens = 0
        self._by_position: list[int] = []
        self._steps = _Steps()
        self._token_s: float | None = None

    def verified(self, drafts: int, draft_tokens: int, accepted_by_position: Sequence[int]) -> None:
        """Count the drafts of one step.

        Args:
            drafts: sequences that had a draft in it.
            draft_tokens: tokens of their drafts.
            accepted_by_position: those of them that were right, by their place in the draft.
        """
        self._drafts += drafts
        self._draft_tokens += draft_tokens
        self._by_position += [0] * (len(accepted_by_position) - len(self._by_position))
        for position, count in enumerate(accepted_by_position):
            self._by_position[position] += count

    def decoded(self, step_s: float, sequences: int, draft_tokens: int, tokens: int) -> None:
        """Take in a step that only decoded: no part of a prompt was computed in it.

        Args:
            step_s: its length, seconds.
            sequences: sequences that got tokens.
            draft_tokens: drafted tokens that it verified.
            tokens: tokens that the sequences got.
        """
        if step_s <= 0 or sequences <= 0:
            return
        n, d = float(sequences), float(draft_tokens)
        new = _Steps(1.0, tokens, step_s, n, d, n * n, n * d, d * d, n * step_s, d * step_s)
        keep = kept(1.0, MEMORY_STEPS)
        self._steps = _Steps(*(keep * old + value for old, value in zip(self._steps, new, strict=True)))
        if self._steps.steps >= LEAST_STEPS:
            token_s = self._steps.drafted_token_s()
            if token_s is not None:
                self._token_s = token_s  # kept for the time when all steps have as many drafted tokens

    def report(self) -> SpeculationReport:
        """Return what was counted and measured."""
        steps = self._steps
        per_step = speedup = 0.0
        if steps.steps >= LEAST_STEPS:
            per_step = steps.tokens / steps.sequences
            if self._token_s is not None:
                speedup = per_step * max(0.0, 1 - self._token_s * steps.drafted / steps.seconds)
        return SpeculationReport(self._drafts, self._draft_tokens, tuple(self._by_position), per_step, speedup)
