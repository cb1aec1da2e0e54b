"""Where an engine holds a KV block, or a prompt chunk that blocks decide."""

from enum import IntEnum


class Place(IntEnum):
    """A block's place, the better the higher: a chunk is where the best of its blocks is."""

    NOWHERE = 0
    LOWER = 1
    """Only in a tier below the device, from which it is fetched."""
    DEVICE = 2
