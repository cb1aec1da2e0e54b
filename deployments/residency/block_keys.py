"""Names for KV blocks that can be told from token ids alone, before the engine has stored them.

A block's key covers its tokens, what else tells it apart (LoRA adapter, cache salt, media) and every block before it:
the same for a prompt that is about to be prefilled and for the engine's event that it was. The engine's own hashes
can't be used: they are seeded in the engine's process.
"""

from array import array
from collections.abc import Iterable, Sequence
from itertools import repeat

import msgspec
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


def extra_of(keys: Sequence[object] | None) -> str:
    """Return one block's extra keys, as vLLM's events list them, as one word; "" where there are none."""
    return msgspec.json.encode(keys).decode() if keys else ""


def prompt_extras(
    blocks: int, block_tokens: int, adapter: str, cache_salt: str, media: Sequence[tuple[str, int, int]]
) -> list[str]:
    """Return what `extra_of` the event will be for each block of a prompt; empty where no block has any.

    The order within a block is vLLM's (`generate_block_hash_extra_keys` of vllm/v1/core/kv_cache_utils.py): adapter,
    media with their offset from the block's start, and in the first block the salt.

    Args:
        blocks: full blocks of the prompt.
        block_tokens: tokens a block.
        adapter: the LoRA adapter's name, or "".
        cache_salt: the request's, or "".
        media: identifier, first token and number of tokens of each media item, in order.
    """
    if not (adapter or cache_salt or media):
        return []
    every: list[object] = [adapter] if adapter else []
    extras = []
    for block in range(blocks):
        start = block * block_tokens
        keys = list(every)
        for identifier, first, count in media:
            if first < start + block_tokens and first + count > start:
                keys.append([identifier, first - start])
        if cache_salt and not block:
            keys.append(cache_salt)
        extras.append(extra_of(keys))
    return extras
