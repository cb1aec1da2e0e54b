"""What a simulation needs of whatever passes prompts between engines; `sim/transfer` does."""

from collections.abc import Mapping
from typing import Any, Protocol

from deployments.engines.sim.generation.sequence import Sequence


class PromptHandoff(Protocol):
    """Takes prompts from other engines and keeps prompts for them."""

    def accept(self, sequence: Sequence, sequence_id: str, params: Mapping[str, Any]) -> None:
        """Set `is_fetch` or `keep_as` of a new sequence, as the `kv_transfer_params` of its request say."""
        ...

    def fetch(self, sequence: Sequence) -> None:
        """Begin to fetch a prompt, whose blocks have been taken; call the simulation's `fetch_ended` at the end."""
        ...

    def keep(self, sequence: Sequence) -> dict[str, Any]:
        """Offer an ended sequence to others; return the `kv_transfer_params` for whoever fetches it."""
        ...

    def give_up(self, sequence: Sequence) -> None:
        """End the fetch of an aborted sequence, and have the other engine free its blocks."""
        ...

    def refused(self, params: Mapping[str, Any]) -> None:
        """Have the other engine free the blocks of a prompt whose request is refused here."""
        ...
