"""What speculative decoding brings on one replica."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest


@dataclass(frozen=True, slots=True)
class SpeculationReport:
    """What speculative decoding has brought on one replica since it became ready, and what it brings now.

    Attributes:
        drafts: drafts that a step has verified, one for each sequence that had one in it.
        draft_tokens: tokens of these drafts.
        accepted_by_position: drafted tokens that were right, by their place in the draft.
        tokens_per_step: tokens that a sequence gets from a step, over about the last thousand steps: its share of right
            drafted tokens and one more; 0: not known.
        speedup: how many times as fast tokens come as they would without it, over about the last thousand steps;
            0: not known. Below 1 it makes answers slower.
    """

    drafts: int
    draft_tokens: int
    accepted_by_position: tuple[int, ...]
    tokens_per_step: float
    speedup: float

    @property
    def accepted_tokens(self) -> int:
        """Drafted tokens that were right."""
        return sum(self.accepted_by_position)


def together(reports: Sequence[SpeculationReport]) -> SpeculationReport | None:
    """Return several ranks' reports as one: sums of counts, and means of what ranks know; None: there is none."""
    if not reports:
        return None
    by_place = zip_longest(*(each.accepted_by_position for each in reports), fillvalue=0)
    return SpeculationReport(
        drafts=sum(each.drafts for each in reports),
        draft_tokens=sum(each.draft_tokens for each in reports),
        accepted_by_position=tuple(map(sum, by_place)),
        tokens_per_step=_mean([each.tokens_per_step for each in reports if each.tokens_per_step]),
        speedup=_mean([each.speedup for each in reports if each.speedup]),
    )


def _mean(known: Sequence[float]) -> float:
    return sum(known) / len(known) if known else 0.0
