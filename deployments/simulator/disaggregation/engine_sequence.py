"""One request on a simulated engine, and what happened to such requests in the steps that ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar

from deployments.simulator.disaggregation.kv_memory import KvLease

OwnerT = TypeVar("OwnerT")


class Leg(Enum):
    """What a replica does of a request."""

    WHOLE = auto()
    """It computes the prompt and generates the answer."""
    COMPUTES = auto()
    """It computes the prompt, whose blocks another replica fetches."""
    CONTINUES = auto()
    """It fetches the prompt's blocks and generates the answer."""


@dataclass(slots=True, eq=False)
class EngineSequence(Generic[OwnerT]):
    """One request on one replica.

    Attributes:
        owner: the caller's object for it.
        leg: what the replica does of it.
        blocks: hashes of its prompt's full blocks.
        prompt_tokens: tokens of its prompt.
        output_tokens: tokens to generate here.
        left: prompt tokens still to compute here.
        lease: its blocks; None: it has none yet, or no longer.
        lane: the first lane of the rank that computes its prompt.
        begun_s: when it was taken into the batch.
        adapter: the LoRA adapter that it is for; "": none.
        answer_blocks: hashes of the full blocks that its answer fills after those; empty: nobody asks for them again.
    """

    owner: OwnerT
    leg: Leg
    blocks: Sequence[int]
    prompt_tokens: int
    output_tokens: int
    left: int
    lease: KvLease | None = None
    lane: int = 0
    begun_s: float = 0.0
    adapter: str = ""
    answer_blocks: Sequence[int] = ()

    @property
    def cached_tokens(self) -> int:
        """Leading tokens of its prompt that were cached here when it got its blocks."""
        return min(self.prompt_tokens - 1, self.lease.matched_tokens) if self.lease else 0


@dataclass(slots=True)
class Happened(Generic[OwnerT]):
    """What happened in the steps that ended.

    Attributes:
        began: sequences whose first token came.
        ended: sequences whose last token came.
        computed: sequences whose prompt is computed for another replica, which may fetch the blocks now.
    """

    began: list[EngineSequence[OwnerT]]
    ended: list[EngineSequence[OwnerT]]
    computed: list[EngineSequence[OwnerT]]
