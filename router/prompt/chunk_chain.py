"""A prompt as a chain of chunk hashes: two prompts with a common prefix share their leading hashes.

Each chunk is hashed together with its predecessor's hash, so a hash stands for the whole prompt up to there. Chunks are
cut every `CHUNK_BYTES` from the start, longer ones deep in the prompt (`TIERS`), and anew at the end of each piece (a
message): the next turn of a chat goes on exactly there, so its history matches to the last byte instead of losing half
a chunk. Chunks shorter than `MIN_CHUNK_BYTES` run on into the next piece, so that chats of one-word messages don't cost
a hash a word.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from router.prompt.canonical import FIELD, Prompt, UnknownPromptError, read_prompt

Hashes = NDArray[np.uint64]

CHUNK_BYTES = 240
"""Up to here xxh3 hashes an input in one go, without preparing a secret for each seed. About 60 tokens of English, two
KV blocks of 32. Half as long costs 40 µs more on 100 000 characters; twice as long loses 30 more tokens of a match."""
TIERS = ((16 * 1024, CHUNK_BYTES), (64 * 1024, 2 * CHUNK_BYTES), (1 << 62, 4 * CHUNK_BYTES))
"""Up to where in a prompt chunks start that are so long. Deep in a prompt a chunk more or less is under 3 % of it."""
MIN_CHUNK_BYTES = 64


class ChunkChain(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The chunks of one prompt.

    Attributes:
        hashes: shape (n,), none of them 0.
        ends: where each chunk ends, in bytes from the prompt's start; n of them, growing.
        size_bytes: bytes of the whole prompt, with what is in no chunk.
        tokens: tokens of the whole prompt where they are known exactly; 0: not known.
        tail: the bytes after the last chunk.
        link: what the next chunk is hashed with: the last hash, or the salted seed where there is none.
    """

    hashes: Hashes
    ends: Sequence[int]
    size_bytes: int
    tokens: int = 0
    tail: bytes = b""
    link: int = 0

    def __len__(self) -> int:
        return len(self.ends)

    def prefix_bytes(self, chunks: int) -> int:
        """Return how many bytes the first `chunks` chunks have."""
        return self.ends[chunks - 1] if chunks else 0


EMPTY_CHAIN = ChunkChain(np.empty(0, np.uint64), (), 0)
"""The chain of a prompt that cannot be understood: it matches nothing."""


class ChunkHasher:
    """Cuts and hashes prompts.

    Args:
        seed: the same for all gateways and replicas of one cluster, and not known outside: without it nobody can choose
            prompts whose hashes collide.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed & 0xFFFF_FFFF_FFFF_FFFF
        self._salted = lru_cache(maxsize=4096)(self._salted_seed)

    def of_body(self, path: str, body: bytes, *, model: str, adapter: str = "", cache_salt: str = "") -> ChunkChain:
        """Return the chain of a request's prompt, `EMPTY_CHAIN` where it cannot be understood.

        Args:
            path: of the request, without the query.
            body: as it came.
            model: the model asked for.
            adapter: the LoRA adapter, where it is not part of the model's name.
            cache_salt: what keeps a tenant's prefixes from other tenants'.
        """
        try:
            prompt = read_prompt(path, body)
        except UnknownPromptError:
            return EMPTY_CHAIN
        return self.of_prompt(prompt, model=model, adapter=adapter, cache_salt=cache_salt)

    def of_prompt(self, prompt: Prompt, *, model: str, adapter: str = "", cache_salt: str = "") -> ChunkChain:
        """Return the chain of a prompt in canonical form."""
        seed = self._salted(model, adapter, cache_salt, prompt.cache_salt)
        hashes: list[int] = []
        ends: list[int] = []
        data, tail_start = _cut(prompt.pieces, seed, hashes, ends)
        return ChunkChain(
            hashes=np.array(hashes, np.uint64),
            ends=ends,
            size_bytes=len(data) + prompt.more_bytes,
            tokens=prompt.tokens,
            tail=data[tail_start:],
            link=hashes[-1] if hashes else seed,
        )

    def extended(self, chain: ChunkChain, piece: bytes) -> ChunkChain:
        """Return the chain of a prompt that goes on with one more piece, such as the answer it got.

        `chain` must be of a prompt that ends with a piece and has no further prompts beside it.
        """
        hashes: list[int] = []
        ends: list[int] = []
        start = chain.size_bytes - len(chain.tail)
        data, tail_start = _cut([chain.tail + piece], chain.link, hashes, ends, offset=start)
        return ChunkChain(
            hashes=np.concatenate([chain.hashes, np.array(hashes, np.uint64)]),
            ends=[*chain.ends, *(start + end for end in ends)],
            size_bytes=start + len(data),
            tail=data[tail_start:],
            link=hashes[-1] if hashes else chain.link,
        )

    def extension(self, chain: ChunkChain, piece: bytes) -> ChunkChain | None:
        """Return the chunks alone that `extended` would add, with ends counted from the chain's last; None: no chunk.

        It is no prompt: there is nothing to go on from at its end.
        """
        hashes: list[int] = []
        ends: list[int] = []
        start = chain.size_bytes - len(chain.tail)
        data, _ = _cut([chain.tail + piece], chain.link, hashes, ends, offset=start)
        return ChunkChain(np.array(hashes, np.uint64), ends, len(data)) if ends else None

    def _salted_seed(self, *salt: str) -> int:
        return xxh3_64_intdigest(FIELD.join(part.encode("utf-8", "surrogatepass") for part in salt), self._seed)


def _cut(pieces: Iterable[bytes], seed: int, hashes: list[int], ends: list[int], offset: int = 0) -> tuple[bytes, int]:
    """Cut pieces in chunks and hash each with `seed` or its predecessor's hash.

    Args:
        pieces: the prompt's bytes, from `offset` on.
        seed: what the first chunk is hashed with.
        hashes: where the chunks' hashes are put.
        ends: where their ends are put, counted from `offset`.
        offset: bytes of the prompt before the pieces.

    Returns:
        All bytes of the pieces, and where the last chunk ends in them.
    """
    digest = xxh3_64_intdigest
    tiers = [(until - offset, size) for until, size in TIERS] if offset else TIERS
    start = end = 0
    chunk = seed
    pieces = list(pieces)
    data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    for piece in pieces:
        end += len(piece)
        if end - start >= CHUNK_BYTES:
            for until, size in tiers:
                last = end - size
                while start <= last and start < until:
                    stop = start + size
                    chunk = digest(data[start:stop], chunk) or 1
                    hashes.append(chunk)
                    ends.append(stop)
                    start = stop
                if start < until:
                    break
        if end - start >= MIN_CHUNK_BYTES:
            chunk = digest(data[start:end], chunk) or 1
            hashes.append(chunk)
            ends.append(end)
            start = end
    return data, start
