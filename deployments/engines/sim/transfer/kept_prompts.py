"""The prompts that an engine keeps for others, each with its lease. Pure: the caller says what time it is."""

from collections.abc import Iterator
from typing import Final

from deployments.engines.sim.generation.sequence import Sequence

EXTENSION: Final = 2 / 3
"""Share of a whole lease that a heartbeat leaves at least, as in vLLM."""


class KeptPrompts:
    """Ended sequences whose blocks wait to be fetched.

    Args:
        lease_s: seconds that a prompt is kept if nobody asks for it.
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._kept: dict[str, tuple[Sequence, float]] = {}

    def __len__(self) -> int:
        """Return the number of prompts."""
        return len(self._kept)

    def keep(self, sequence: Sequence, now_s: float) -> None:
        """Begin a lease, by the sequence's own id."""
        self._kept[sequence.keep_as] = (sequence, now_s + self._lease_s)

    def extend(self, sequence_id: str, now_s: float) -> bool:
        """Renew a lease at a heartbeat of the engine that waits to fetch; return False if it is over."""
        if sequence_id not in self._kept:
            return False
        sequence, ends_s = self._kept[sequence_id]
        self._kept[sequence_id] = (sequence, max(ends_s, now_s + self._lease_s * EXTENSION))
        return True

    def take(self, sequence_id: str) -> Sequence | None:
        """End a lease and return its sequence; None: it is over."""
        found = self._kept.pop(sequence_id, None)
        return None if found is None else found[0]

    def take_expired(self, now_s: float) -> Iterator[Sequence]:
        """End the leases whose time is over, and yield their sequences."""
        for sequence_id in [key for key, (_, ends_s) in self._kept.items() if ends_s <= now_s]:
            yield self._kept.pop(sequence_id)[0]

    def next_end_s(self) -> float | None:
        """Return when the first lease ends; None: nothing is kept."""
        return min((ends_s for _, ends_s in self._kept.values()), default=None)
