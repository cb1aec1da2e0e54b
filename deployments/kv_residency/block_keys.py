"""Computes keys of KV blocks from token ids alone, before the engine has stored the blocks.

A block's key is a hash over its tokens, whatever else distinguishes it (LoRA adapter, cache salt, media) and the key of
the block before. A prompt that waits for its prefill and the engine's later event give the same key. The engine's own
hashes can't be used: they are seeded in the engine's process.
"""

from array import array
from collections.abc import Iterable
from itertools import repeat

from xxhash import xxh3_64_intdigest

ROOT = 0
"""Key used as the parent of a prompt's first block."""
ID_BYTES = 4
_ID = next(code for code in "IL" if array(code).itemsize == ID_BYTES)


def packed(token_ids: Iterable[int]) -> memoryview:
    """Return token ids as 4 bytes each.

    Raises:
        OverflowError: an id is negative or needs more than 32 bits.
    """
    return memoryview(array(_ID, token_ids)).cast("B")


def block_keys(ids: memoryview, block_tokens: int, parent: int = ROOT, extras: Iterable[str] = ()) -> list[int]:
    """Return the keys of consecutive full blocks.

    Args:
        ids: the blocks' token ids, `packed`; ids after the last full block are ignored.
        block_tokens: tokens per block.
        parent: the key of the block before the first.
        extras: for each block what distinguishes it besides its tokens; "": nothing. May be shorter than the blocks.
    """
    digest = xxh3_64_intdigest
    size = block_tokens * ID_BYTES
    keys = []
    others = iter(extras) if extras else repeat("")
    for start in range(0, len(ids) - size + 1, size):
        extra = next(others, "")
        if extra:
            parent = digest(extra.encode("utf-8", "surrogatepass"), parent)
        parent = digest(ids[start : start + size], parent)
        keys.append(parent)
    return keys
