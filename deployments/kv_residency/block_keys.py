"""Names for KV blocks that can be told from token ids alone, before the engine has stored them.

A block's key covers its tokens, what else tells it apart (LoRA adapter, cache salt, media) and every block before it:
the same for a prompt that is about to be prefilled and for the engine's event that it was. The engine's own hashes
can't be used: they are seeded in the engine's process.
"""

from array import array
from collections.abc import Iterable
from itertools import repeat

from xxhash import xxh3_64_intdigest

ROOT = 0
"""The parent of a prompt's first block."""
ID_BYTES = 4
_ID = next(code for code in "IL" if array(code).itemsize == ID_BYTES)


def packed(token_ids: Iterable[int]) -> memoryview:
    """Return token ids as 4 bytes each.

    Raises:
        OverflowError: one is negative or above 32 bits.
    """
    return memoryview(array(_ID, token_ids)).cast("B")


def block_keys(ids: memoryview, block_tokens: int, parent: int = ROOT, extras: Iterable[str] = ()) -> list[int]:
    """Return the keys of consecutive full blocks.

    Args:
        ids: their tokens, `packed`; what fills no block at the end is left out.
        block_tokens: tokens a block.
        parent: the key of the block before the first.
        extras: for each block what else it stands for; "": nothing. Blocks beyond its end have none.
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
