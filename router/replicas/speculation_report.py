"""What speculative decoding brings on one replica."""

from dataclasses import dataclass


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
