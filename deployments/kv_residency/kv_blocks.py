"""Which KV blocks an engine holds, by our own keys: the engine's events, counted."""

from collections.abc import Iterable, Iterator

from deployments.engines.interface import BlockHash, BlockRemoved, BlockStored
from deployments.kv_residency.block_keys import ROOT, block_keys, packed


class KvBlocks:
    """The blocks of one engine's prefix cache.

    vLLM may hold a block several times (two prompts with the same beginning that are prefilled at once), and tells of
    each copy's coming and going: a block is held as long as one copy is. Events that don't fit what is known (a parent
    that nobody told of, sizes that don't add up) are passed over: what is not known to be held counts as not held.

    Args:
        block_tokens: tokens a block.

    Attributes:
        copies: how many copies the engine holds of each block, by key; 1 or more.
        total_copies: of all blocks.
    """

    def __init__(self, block_tokens: int) -> None:
        self.copies: dict[int, int] = {}
        self.total_copies = 0
        self._block_tokens = block_tokens
        self._keys: dict[BlockHash, int] = {}

    def __contains__(self, key: int) -> bool:
        return key in self.copies

    def __len__(self) -> int:
        return len(self.copies)

    def stored(self, event: BlockStored) -> Iterator[int]:
        """Take an event; yields the keys of blocks that were not held before."""
        hashes, parent = event.block_hashes, event.parent_block_hash
        fits = event.block_size == self._block_tokens and len(event.token_ids) == len(hashes) * event.block_size
        root = ROOT if parent is None else self._keys.get(parent)
        if root is None or not fits:
            return
        keys = block_keys(packed(event.token_ids), self._block_tokens, root, event.extra_keys)
        copies = self.copies
        for name, key in zip(hashes, keys, strict=True):
            self._keys[name] = key
            self.total_copies += 1
            if key in copies:
                copies[key] += 1
            else:
                copies[key] = 1
                yield key

    def removed(self, event: BlockRemoved) -> Iterator[int]:
        """Take an event; yields the keys of blocks that are no longer held."""
        for name in event.block_hashes:
            key = self._keys.get(name)
            if key is None:
                continue
            self.copies[key] -= 1
            self.total_copies -= 1
            if not self.copies[key]:
                del self.copies[key], self._keys[name]
                yield key

    def cleared(self) -> Iterable[int]:
        """Forget every block; returns the keys of those that were held."""
        keys = self.copies
        self.copies, self._keys, self.total_copies = {}, {}, 0
        return keys

    def check_integrity(self) -> None:
        """Check that both ways of naming a block agree.

        Raises:
            AssertionError: they don't.
        """
        if set(self._keys.values()) != set(self.copies) or len(self._keys) != len(self.copies):
            raise AssertionError("a block is held without a name, or named without being held")
        if any(count < 1 for count in self.copies.values()):
            raise AssertionError("a block is held in no copy")
        if sum(self.copies.values()) != self.total_copies:
            raise AssertionError(f"{self.total_copies} copies are counted, {sum(self.copies.values())} are held")
