"""What a replica's steps are: how full those with prompts, and how fast those that only decode."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepReport:
    """A replica's steps over its last busy seconds.

    Attributes:
        decode_tokens_per_s: tokens generated a second in steps without prompts; 0: there was none yet.
        sequences: number of sequences in such a step, the mean over time.
        prompt_tokens: prompt tokens in a step that has some, the mean over time; 0: there was none yet.
        answer_tokens_per_s: tokens of answers after their first, by the seconds that steps with them would take without
            prompts; 0: not known.
        added_tokens_per_s: prompt tokens by the seconds that they add to steps; 0: not known.
    """

    decode_tokens_per_s: float
    sequences: float
    prompt_tokens: float
    answer_tokens_per_s: float = 0.0
    added_tokens_per_s: float = 0.0


def of_ranks(reports: Sequence[StepReport]) -> StepReport | None:
    """Return the steps of all data-parallel ranks as one; None: no rank tells of its own.

    Ranks that have not worked yet count as the mean of the others.
    """
    if not reports:
        return None
    return StepReport(
        _summed([each.decode_tokens_per_s for each in reports]),
        _summed([each.sequences for each in reports]),
        _summed([each.prompt_tokens for each in reports]),
        _summed([each.answer_tokens_per_s for each in reports]),
        _summed([each.added_tokens_per_s for each in reports]),
    )


def _summed(values: Sequence[float]) -> float:
    known = [value for value in values if value]
    return sum(known) / len(known) * len(values) if known else 0.0
