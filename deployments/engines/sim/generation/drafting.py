"""The simulated engine's speculative decoding: which steps of a sequence have a draft, and how much of it is right.

Both are drawn by the text so far, as the next word is. So the same text is drafted in the same way on every engine, and
a run can be repeated.
"""

from typing import Final, NamedTuple

from xxhash import xxh3_64_intdigest

from cluster.spec.model_parts.sim_spec import SimSpec
from cluster.spec.model_parts.speculative_spec import SpeculativeSpec

_SEED: Final = 0x5EC0DE
_WHOLE: Final = float(1 << 64)


class Draft(NamedTuple):
    """The draft that a sequence has in one step.

    Attributes:
        tokens: drafted tokens, which the step verifies; 0: there is no draft.
        accepted: those of them, from the first, that are right.
    """

    tokens: int = 0
    accepted: int = 0


NO_DRAFT: Final = Draft()


class Drafting:
    """Drafts tokens of sequences.

    Args:
        speculative: how many tokens a draft has, and whether each step of a sequence has one.
        sim: how often drafts are found, and their tokens are right.
    """

    def __init__(self, speculative: SpeculativeSpec, sim: SimSpec) -> None:
        self.tokens = speculative.draft_tokens
        self._share = sim.draft_share if speculative.finds_drafts else 1.0
        self._acceptance = sim.acceptance

    def draft(self, tail: str) -> Draft:
        """Return the draft of what follows a text.

        Args:
            tail: the text so far, or its end.
        """
        text = tail.encode("utf-8", "surrogatepass")
        if _drawn(text, 0) >= self._share:
            return NO_DRAFT
        accepted = 0
        while accepted < self.tokens and _drawn(text, accepted + 1) < self._acceptance:
            accepted += 1
        return Draft(self.tokens, accepted)


def drafting_of(speculative: SpeculativeSpec, sim: SimSpec) -> Drafting | None:
    """Return what drafts for a model; None: nothing does."""
    return Drafting(speculative, sim) if speculative.draft_tokens else None


def _drawn(text: bytes, place: int) -> float:
    """Return a number from 0 to 1 that a text decides."""
    return xxh3_64_intdigest(text, seed=_SEED + place) / _WHOLE
