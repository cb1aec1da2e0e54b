"""What a replica keeps of its KV cache beyond its device."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TierReport:
    """KV blocks in the tiers of one replica.

    Attributes:
        device_tokens: tokens of the blocks on the device, used or cached.
        host_tokens: tokens of the blocks in host memory; a block may be at several places.
        disk_tokens: tokens of the blocks in files.
        fetched_tokens: prompt tokens fetched from below the device since the replica started.
        fetch_s_per_token: seconds that fetching one takes, over the last fetches; before any, by what such memory
            usually gives.
    """

    device_tokens: int
    host_tokens: int
    disk_tokens: int
    fetched_tokens: int
    fetch_s_per_token: float
