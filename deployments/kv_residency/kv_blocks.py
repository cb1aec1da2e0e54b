"""Which KV blocks an engine holds, by our own keys, counted from the engine's events."""

from collections.abc import Iterable, Iterator

from deployments.engines.interface import BlockHash, BlockRemoved, BlockStored
from deployments.kv_residency.block_keys import ROOT, block_keys, packed


class KvBlocks:
    """The blocks of one engine's prefix cache, on its device.

    vLLM may hold several copies of a block (two prompts with the same beginning, prefilled at once) and sends events
    for each copy. A block is held while at least one copy is. Events that don't fit (an unknown parent, sizes that
    don't add up) are ignored: a block not known to be held counts as not held.

    Args:
        block_tokens: tokens per block.

    Attributes:
        copies: copies that the engine holds of each block, by key; 1 or more.
        total_copies: copies of all blocks together.
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

    def key(self, name: BlockHash) -> int | None:
        """Return our key of a held block, by the engine's hash; None: none is held under it."""
        return self._keys.get(name)

    def stored(self, event: BlockStored) -> Iterator[int]:
        """Apply an event and yield the keys of blocks that were not held before."""
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
        """Apply an event and yield the keys of blocks that are no longer held."""
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
        """Forget every block and return the keys of those that were held."""
        keys = self.copies
        self.copies, self._keys, self.total_copies = {}, {}, 0
        return keys

    def check_integrity(self) -> None:
        """Check that the engine's names, our keys and the counts agree.

        Raises:
            AssertionError: they don't; the message says what is wrong.
        """
        if set(self._keys.values()) != set(self.copies) or len(self._keys) != len(self.copies):
            raise AssertionError("a held block has no engine name, or a name stands for a block that is not held")
        if any(count < 1 for count in self.copies.values()):
            raise AssertionError("a held block has no copy")
        if sum(self.copies.values()) != self.total_copies:
            raise AssertionError(f"{self.total_copies} copies are counted, {sum(self.copies.values())} are held")
