"""What a replica says of the images, audio and video that its prompts have named by URL."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class MediaReport:
    """Counts since the replica started.

    Attributes:
        fetched: items that it fetched.
        fetched_bytes: their bytes.
        refused: items that it refused, inline ones included, by reason.
    """

    fetched: int = 0
    fetched_bytes: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)


NO_MEDIA: Final = MediaReport()
"""The report of a replica that has met none."""
