"""A prompt in the simulated engine: a string of units, cut into tokens and KV blocks.

For text a unit is a character, and a token is `chars_per_token` of them. For a prompt of token ids a unit is a token.
Token `i` begins at unit `floor(i * units_per_token)`, so equal beginnings make equal blocks, and a prompt that repeats
an earlier prompt and its answer finds both in the cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from xxhash import xxh3_64_intdigest

VOCAB_SIZE = 0x10F000
"""Number of token ids that fit into one unit: Unicode's code points without the surrogates."""

_SURROGATES = range(0xD800, 0xE000)
# Odd random numbers: with small multiples of one another, exchanged characters would make the same token id.
_PLACE = np.random.default_rng(0).integers(1, 1 << 31, size=256, dtype=np.uint64) | np.uint64(1)


@dataclass(frozen=True, slots=True)
class SimPrompt:
    """A prompt and how it is cut into tokens.

    Attributes:
        units: the text, or one character per token id.
        units_per_token: characters per token, 1 or more; 1 for token ids.
        from_ids: the request gave token ids.
        answer_from: where in `units` the answer begins: at the end, or earlier if a begun answer is to be continued.
        salt: separates the prompt's blocks from those of other prompts with the same text: the request's `cache_salt`.
        adapter: the LoRA adapter that computes it, which makes blocks of its own; "": none.
    """

    units: str
    units_per_token: float
    from_ids: bool
    answer_from: int
    salt: str = ""
    adapter: str = ""

    @property
    def tokens(self) -> int:
        """Number of tokens in the prompt."""
        return ceil(len(self.units) / self.units_per_token)

    @property
    def whole_tokens(self) -> int:
        """Number of tokens whose units are all in the prompt: an answer cannot change them."""
        tokens = int(len(self.units) / self.units_per_token)
        return tokens if boundary(tokens, self.units_per_token) <= len(self.units) else tokens - 1

    def by(self, adapter: str) -> "SimPrompt":
        """Return the same prompt for a LoRA adapter; "": for none."""
        return replace(self, adapter=adapter) if adapter else self

    def root_hash(self) -> int:
        """Return the parent of the first block's hash."""
        root = xxh3_64_intdigest(self.salt.encode()) if self.salt else 0
        return xxh3_64_intdigest(self.adapter.encode(), seed=root) if self.adapter else root


def units_of_ids(ids: Sequence[int]) -> str:
    """Return token ids as units.

    Raises:
        ValueError: an id is outside the vocabulary.
    """
    for token in ids:
        if not 0 <= token < VOCAB_SIZE:
            raise ValueError(f"Token id {token} is out of vocabulary")
    return "".join([chr(token if token < _SURROGATES.start else token + len(_SURROGATES)) for token in ids])


def boundary(tokens: int, units_per_token: float) -> int:
    """Return the unit at which token number `tokens` begins."""
    return int(tokens * units_per_token)


def block_hash(units: str, parent: int) -> int:
    """Return the hash of a full block with the content `units` that follows the block with the hash `parent`."""
    return xxh3_64_intdigest(_encoded(units), seed=parent)


def chain(prompt: SimPrompt, block_tokens: int) -> list[int]:
    """Return the hashes of the prompt's full blocks, in order; each covers the one before."""
    hashes: list[int] = []
    parent, start = prompt.root_hash(), 0
    while (end := boundary((len(hashes) + 1) * block_tokens, prompt.units_per_token)) <= len(prompt.units):
        parent = block_hash(prompt.units[start:end], parent)
        hashes.append(parent)
        start = end
    return hashes


def token_ids(units: str, first_token: int, prompt: SimPrompt) -> tuple[int, ...]:
    """Return the ids of the tokens in `units`, which begin with token number `first_token` of `prompt`."""
    if not units:
        return ()
    codes = np.frombuffer(_encoded(units), dtype=np.uint32).astype(np.uint64)
    if prompt.from_ids:
        return tuple(np.where(codes < _SURROGATES.stop, codes, codes - np.uint64(len(_SURROGATES))).tolist())
    origin = boundary(first_token, prompt.units_per_token)
    past_last = ceil((origin + len(units)) / prompt.units_per_token)
    starts = (np.arange(first_token, past_last) * prompt.units_per_token).astype(np.int64) - origin
    place = np.arange(len(units)) - np.repeat(starts, np.diff(np.append(starts, len(units))))
    sums = np.add.reduceat(codes * _PLACE[place % len(_PLACE)], starts)
    return tuple((sums & np.uint64(0x7FFFFFFF)).tolist())


def _encoded(units: str) -> bytes:
    # JSON can contain half of a surrogate pair; such text must not fail.
    return units.encode("utf-32-le", "surrogatepass")
