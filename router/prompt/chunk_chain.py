"""A prompt as a chain of chunk hashes: prompts with a common prefix have the same leading hashes.

Each chunk is hashed together with its predecessor's hash, so a hash stands for the whole prompt up to its chunk's end.

A chunk has `CHUNK_BYTES` (far into a long prompt more, see `TIERS` in `cut.py`), or fewer where its piece, a message,
ends. The next turn of a chat continues there, so its history matches to the last byte instead of losing half a chunk. A
rest shorter than `MIN_CHUNK_BYTES` is joined to the next piece, so that a chat of one-word messages does not cost one
hash a word.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final, final

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from router.prompt.bodies import ChatBody
from router.prompt.canonical import Prompt, UnknownPromptError, read_prompt
from router.prompt.cut import cut
from router.prompt.message_piece import FIELD
from router.prompt.outline import Outline

Hashes = NDArray[np.uint64]


@final
class ChunkChain:
    """The chunks of one prompt. Nothing changes it once it is made.

    Attributes:
        hashes: the chunks' hashes, n numbers of 64 bits, none of them 0.
        ends: where each chunk ends, in bytes from the prompt's start; n numbers, increasing.
        size_bytes: size of the whole prompt, including bytes that are in no chunk.
        tokens: tokens of the whole prompt where they are known exactly; 0: not known.
        tail: the bytes after the last chunk.
        link: the value that the next chunk is hashed with: the last hash, or the salted seed where there are no chunks.
    """

    __slots__ = ("ends", "hashes", "link", "size_bytes", "tail", "tokens")

    def __init__(  # noqa: PLR0913 - a chain is made of these
        self, hashes: list[int], ends: list[int], size_bytes: int, *, tokens: int = 0, tail: bytes = b"", link: int = 0
    ) -> None:
        self.hashes = hashes
        self.ends = ends
        self.size_bytes = size_bytes
        self.tokens = tokens
        self.tail = tail
        self.link = link

    def __len__(self) -> int:
        return len(self.ends)

    def __reduce__(self) -> tuple[Callable[..., "ChunkChain"], tuple[object, ...]]:
        """Say how a copy is made, for `pickle`: its own way needs a constructor without arguments once compiled."""
        return _chain, (self.hashes, self.ends, self.size_bytes, self.tokens, self.tail, self.link)

    @property
    def is_whole(self) -> bool:
        """Whether all of the prompt was hashed, up to `tail`."""
        return (self.ends[-1] if self.ends else 0) + len(self.tail) == self.size_bytes

    def prefix_bytes(self, chunks: int) -> int:
        """Return the size of the first `chunks` chunks, in bytes."""
        return self.ends[chunks - 1] if chunks else 0


def _chain(hashes: list[int], ends: list[int], size_bytes: int, tokens: int, tail: bytes, link: int) -> ChunkChain:  # noqa: PLR0913, PLR0917 - its fields
    return ChunkChain(hashes, ends, size_bytes, tokens=tokens, tail=tail, link=link)


EMPTY_CHAIN: Final = ChunkChain([], [], 0)
"""The chain of a prompt that cannot be understood; it matches no other chain."""


class ChunkHasher:
    """Cuts prompts into chunks and hashes these.

    Args:
        seed: 64 bits, the same for all gateways and replicas of a cluster and secret outside of it, so that nobody can
            choose prompts whose hashes collide.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed & 0xFFFF_FFFF_FFFF_FFFF
        self._salted = lru_cache(maxsize=4096)(self._salted_seed)

    def of_body(  # noqa: PLR0913 - all that a chain depends on
        self,
        path: str,
        body: bytes,
        *,
        model: str,
        adapter: str = "",
        cache_salt: str = "",
        read: Outline | ChatBody | None = None,
    ) -> ChunkChain:
        """Return the chain of a request's prompt; `EMPTY_CHAIN` where the prompt cannot be understood.

        Args:
            path: the request's path, without the query.
            body: the request's body, as it came.
            model: the model asked for.
            adapter: the LoRA adapter, where it is not part of the model's name.
            cache_salt: the tenant's salt; prompts with different salts share no hash.
            read: the same body in outline or decoded, where it has been read already.
        """
        try:
            prompt = read_prompt(path, body, read)
        except UnknownPromptError:
            return EMPTY_CHAIN
        return self.of_prompt(prompt, model=model, adapter=adapter, cache_salt=cache_salt)

    def of_prompt(self, prompt: Prompt, *, model: str, adapter: str = "", cache_salt: str = "") -> ChunkChain:
        """Return the chain of a prompt in canonical form."""
        seed = self._salted(model, adapter, cache_salt, prompt.cache_salt)
        hashes, ends, size, tail = cut(prompt.pieces, seed)
        link = hashes[-1] if hashes else seed
        return ChunkChain(hashes, ends, size + prompt.more_bytes, tokens=prompt.tokens, tail=tail, link=link)

    def extended(self, chain: ChunkChain, piece: bytes) -> ChunkChain:
        """Return the chain of the same prompt with one more piece, such as its answer, at its end.

        `chain` must be that of a body's only prompt, and its prompt must end with a whole piece. One of which only the
        beginning was hashed is returned as it is.
        """
        start = chain.size_bytes - len(chain.tail)
        if not chain.is_whole:
            return chain
        hashes, ends, size, tail = cut([chain.tail + piece], chain.link, start)
        return ChunkChain(
            chain.hashes + hashes,
            chain.ends + [start + end for end in ends],
            start + size,
            tail=tail,
            link=hashes[-1] if hashes else chain.link,
        )

    def extension(self, chain: ChunkChain, piece: bytes) -> ChunkChain | None:
        """Return only the chunks that `extended` would add; None where it adds none.

        Their ends are counted from the end of the chain's last chunk. The result is no whole prompt: it has no `tail`
        or `link`, so it cannot be extended.
        """
        if not chain.is_whole:
            return None
        start = chain.size_bytes - len(chain.tail)
        hashes, ends, size, _ = cut([chain.tail + piece], chain.link, start)
        return ChunkChain(hashes, ends, size) if ends else None

    def _salted_seed(self, *salt: str) -> int:
        return xxh3_64_intdigest(FIELD.join(part.encode("utf-8", "surrogatepass") for part in salt), self._seed)
