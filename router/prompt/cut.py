"""Cuts a prompt's pieces into chunks, and hashes each together with its predecessor's hash.

Compiled C code does it where it is there (`chunk_cut.c`); else `cut_interpreted`, which says what is right.
"""

import ctypes
import importlib
from typing import Final

from xxhash import xxh3_64_intdigest

try:
    from router.prompt.chunk_cut import cut as compiled_cut
except ImportError:
    compiled_cut = None  # type: ignore[assignment]  # not compiled here: `make setup` says why

CHUNK_BYTES: Final = 240
"""Length of a chunk at a prompt's start: about 60 tokens of English, or two KV blocks of 32. It is the longest input
that xxh3 hashes without first preparing a secret for the seed."""
TIERS: Final = [
    (4 * 1024, CHUNK_BYTES),
    (16 * 1024, 2 * CHUNK_BYTES),
    (64 * 1024, 4 * CHUNK_BYTES),
    (256 * 1024, 8 * CHUNK_BYTES),
    (1 << 62, 16 * CHUNK_BYTES),
]
"""Pairs of a position in a prompt and the length of the chunks that start before it, both in bytes. A match loses half
a chunk on average: 6 % of a prompt of 4 KiB, 3 % of one of 16 KiB, and 1.5 % of a longer one. In return 100 000
characters are 113 chunks, and a million are 390."""
MIN_CHUNK_BYTES: Final = 64
"""Length below which the rest of a piece is no chunk of its own but joined to the next piece."""
CUT_VERSION: Final = 3
"""Number of this way to cut and hash prompts. Change it with `TIERS` and all else that changes hashes: gateways and
replicas that cut differently would take each other's hashes for prompts that they do not know."""
Cut = tuple[list[int], list[int], int, bytes]
"""The chunks' hashes; where they end, in bytes from the first piece's start; the pieces' size in bytes; the bytes after
the last chunk."""


def _address_of_hash() -> int:
    """Return the address of the hash function in the xxhash package's own library; 0: it does not show it."""
    try:
        library = ctypes.CDLL(importlib.import_module("xxhash._xxhash").__file__)
        return ctypes.cast(library.XXH3_64bits_withSeed, ctypes.c_void_p).value or 0
    except (ImportError, AttributeError, OSError):
        return 0


_HASH: Final = _address_of_hash() if compiled_cut is not None else 0
IS_COMPILED: Final = _HASH != 0
"""Whether prompts are cut by compiled code."""


def cut(pieces: list[bytes], seed: int, offset: int = 0) -> Cut:
    """Cut pieces into chunks and hash these.

    Args:
        pieces: the prompt's bytes, from `offset` on.
        seed: the value that the first chunk is hashed with.
        offset: bytes of the prompt before the pieces.
    """
    if _HASH:
        return compiled_cut(_HASH, pieces, seed, offset, TIERS, MIN_CHUNK_BYTES)
    return cut_interpreted(pieces, seed, offset)


def cut_interpreted(pieces: list[bytes], seed: int, offset: int = 0) -> Cut:
    """Do the same in Python."""
    hashes: list[int] = []
    ends: list[int] = []
    start = end = 0
    chunk = seed
    data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    for piece in pieces:
        end += len(piece)
        if end - start >= CHUNK_BYTES:
            for until, size in TIERS:
                last = min(end - size, until - offset - 1)
                while start <= last:
                    stop = start + size
                    chunk = xxh3_64_intdigest(data[start:stop], chunk) or 1
                    hashes.append(chunk)
                    ends.append(stop)
                    start = stop
                if start < until - offset:
                    break
        if end - start >= MIN_CHUNK_BYTES:
            chunk = xxh3_64_intdigest(data[start:end], chunk) or 1
            hashes.append(chunk)
            ends.append(end)
            start = end
    return hashes, ends, len(data), data[start:]
