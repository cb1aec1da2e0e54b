"""What a prompt changes in the index of observed replicas: chunks become the latest used, and the oldest are evicted.

Compiled C code does it where it is there (`claim_ops.c`); else the functions here, which say what is right. All take a
replica's chunks (hash → bytes, least recently used first), the masks of all replicas (hash → bits), and its bit.
"""

from typing import Final

try:
    from router.prefix_cache import claim_ops
except ImportError:
    claim_ops = None  # type: ignore[assignment]  # not compiled here: `make setup` says why

IS_COMPILED: Final = claim_ops is not None
"""Whether compiled code does it."""


def use_interpreted(
    sizes: dict[int, int], masks: dict[int, int], hashes: list[int], ends: list[int], bit: int
) -> tuple[int, int]:
    """Make a prompt's chunks the latest used of a replica, the first of them last; set its bit for those that are new.

    Args:
        sizes: the replica's chunks.
        masks: all replicas' bits.
        hashes: the prompt's chunks.
        ends: where each of them ends in the prompt, in bytes.
        bit: the replica's bit.

    Returns:
        The bytes of the new chunks, and their number.
    """
    added_bytes = added_chunks = 0
    for position in range(len(hashes) - 1, -1, -1):
        chunk = hashes[position]
        size = sizes.pop(chunk, 0)
        if not size:
            size = ends[position] - ends[position - 1] if position else ends[0]
            mask = masks.get(chunk)
            # Most chunks have one holder. They share the replica's own int, which is no small object with many bits.
            masks[chunk] = bit if mask is None else mask | bit
            added_bytes += size
            added_chunks += 1
        sizes[chunk] = size
    return added_bytes, added_chunks


def evict_interpreted(
    sizes: dict[int, int], masks: dict[int, int], bit: int, excess_bytes: int, chunks: int
) -> tuple[int, int]:
    """Take the least recently used chunks from a replica, and clear its bit for them.

    Args:
        sizes: the replica's chunks.
        masks: all replicas' bits.
        bit: the replica's bit.
        excess_bytes: bytes to evict at least, if there are as many.
        chunks: chunks to evict at least, if there are as many.

    Returns:
        The bytes of the evicted chunks, and their number.
    """
    gone: list[int] = []
    freed = 0
    for chunk, size in sizes.items():
        if freed >= excess_bytes and len(gone) >= chunks:
            break
        freed += size
        gone.append(chunk)
    for chunk in gone:
        del sizes[chunk]
    clear(masks, gone, bit)
    return freed, len(gone)


def clear(masks: dict[int, int], chunks: list[int], bit: int) -> None:
    """Clear a replica's bit for chunks that it held."""
    for chunk in chunks:
        left = masks[chunk] ^ bit
        if left:
            masks[chunk] = left
        else:
            del masks[chunk]


use: Final = use_interpreted if claim_ops is None else claim_ops.use
evict: Final = evict_interpreted if claim_ops is None else claim_ops.evict
