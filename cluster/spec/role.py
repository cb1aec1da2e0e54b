"""A pool's role: what its replicas do of a request."""

from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """What the replicas of a pool do: compute prompts, generate answers, or both."""

    BOTH = "both"
    """They serve whole requests."""
    PREFILL = "prefill"
    """They compute prompts, whose KV blocks a replica of another pool fetches to generate the answer."""
    DECODE = "decode"
    """They generate answers. They compute a prompt themselves where fetching its KV blocks would cost more."""

    @property
    def decodes(self) -> bool:
        """Whether a request's answer may come from such a replica."""
        return self is not Role.PREFILL


PREFILL: Final = Role.PREFILL
# For the hot path: looking up an enum's member takes ten times as long as looking up a global.
