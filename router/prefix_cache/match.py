"""How many leading chunks of one prompt each replica holds, from the claims on each chunk."""

from collections.abc import Mapping, Sequence
from typing import Final, final

import numpy as np

from router.prompt.chunk_chain import ChunkChain, Hashes


@final
class PrefixMatch:
    """The leading chunks of one prompt that each replica holds.

    Attributes:
        counts: replica id → leading chunks held, in any tier; a replica that holds none may be left out.
        longest: the largest of `counts`; 0: nobody holds any.
        token_ends: for each leading chunk that any replica holds, tokens from the prompt's start to the chunk's end; 0
            where they are not known. At least `longest` entries.
        tokens: tokens of the whole prompt, as best known; 0: nobody has counted them.
        device_counts: leading chunks on the device, of each replica that holds more of them in tiers below; None: none
            does.
    """

    __slots__ = ("counts", "device_counts", "longest", "token_ends", "tokens")

    def __init__(self, counts: dict[str, int], longest: int, token_ends: list[int]) -> None:
        self.counts = counts
        self.longest = longest
        self.token_ends = token_ends
        self.tokens = 0.0
        self.device_counts: dict[str, int] | None = None

    def count(self, replica_id: str) -> int:
        """Return how many leading chunks a replica holds; 0 for an unknown replica."""
        return self.counts.get(replica_id, 0)

    def count_tiers(self, columns: Mapping[str, str]) -> None:
        """Take the counts of other columns as those of replicas' tiers together.

        Args:
            columns: replica id → the name under which `counts` has what it holds in any tier.
        """
        counts = self.counts
        for replica_id, column in columns.items():
            anywhere, device = counts.pop(column, 0), counts.get(replica_id, 0)
            if anywhere > device:
                counts[replica_id] = anywhere
                if self.device_counts is None:
                    self.device_counts = {}
                self.device_counts[replica_id] = device

    def device_count(self, replica_id: str) -> int:
        """Return how many leading chunks a replica holds on its device."""
        count = self.counts.get(replica_id, 0)
        return count if self.device_counts is None else self.device_counts.get(replica_id, count)

    def fetched_tokens(self, chain: ChunkChain, replica_id: str) -> float:
        """Return how many tokens a replica would fetch from the tiers below its device."""
        if self.device_counts is None or replica_id not in self.device_counts:
            return 0.0
        on_device = self.cached_tokens(chain, self.device_counts[replica_id])
        return max(0.0, self.cached_tokens(chain, self.counts[replica_id]) - on_device)

    def cached_tokens(self, chain: ChunkChain, chunks: int) -> float:
        """Return how many tokens the first `chunks` chunks of the matched prompt have, as best known."""
        if not chunks:
            return 0.0
        known = self.token_ends[chunks - 1] if chunks <= len(self.token_ends) else 0
        return known or self.tokens * chain.ends[chunks - 1] / chain.size_bytes


NO_MATCH: Final = PrefixMatch({}, 0, [])
"""The match of a prompt that nobody has looked up."""


def leading_run_of_few(masks: Sequence[int], live: int, counts: list[int], base: int) -> None:
    """Count, for each bit of `live`, how many of the first masks have it set; write it to `counts[base + bit]`."""
    held = live
    for position, mask in enumerate(masks):
        kept = held & mask
        if kept != held:
            _note(held & ~kept, position, counts, base)
            held = kept
            if not held:
                return
    _note(held, len(masks), counts, base)


def leading_run(masks: Hashes, live: int, counts: list[int], base: int) -> None:
    """Do the same for an array of masks, shape (n,): one pass, then one step for each time a replica drops out."""
    if not len(masks):
        return
    held = np.bitwise_and.accumulate(masks)
    held &= np.uint64(live)
    drops = np.flatnonzero(held[1:] != held[:-1]) + 1
    for position, bits in zip(drops.tolist(), (held[drops - 1] & ~held[drops]).tolist(), strict=True):
        if bits & bits - 1:
            _note(bits, position, counts, base)
        else:
            counts[base + bits.bit_length() - 1] = position
    _note(held.item(-1), len(masks), counts, base)  # a replica without the first chunk keeps the count 0


def _note(bits: int, count: int, counts: list[int], base: int) -> None:
    while bits:
        low = bits & -bits
        counts[base + low.bit_length() - 1] = count
        bits ^= low
