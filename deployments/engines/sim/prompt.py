"""A prompt as the simulated engine sees it: a string of units that fall into tokens and KV blocks.

For text a unit is a character and a token stands for `chars_per_token` of them; for a prompt of token ids a unit is a
token. Boundaries lie at fixed places from the start (`floor(i * units_per_token)`), so equal beginnings make equal
blocks, and a prompt that repeats an earlier prompt and its answer finds both in the cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from xxhash import xxh3_64_intdigest

VOCAB_SIZE = 0x10F000
"""Token ids that fit one unit each: the code points, less the surrogates."""

_SURROGATES = range(0xD800, 0xE000)
# Odd numbers, and no small multiples of one another: else exchanged characters make the same token id.
_PLACE = np.random.default_rng(0).integers(1, 1 << 31, size=256, dtype=np.uint64) | np.uint64(1)


@dataclass(frozen=True, slots=True)
class SimPrompt:
    """A prompt, cut as the cache will cut it.

    Attributes:
        units: the text, or one character a token id.
        units_per_token: characters a token, 1 or more; 1 for token ids.
        from_ids: it came as token ids.
        answer_from: where the answer begins in `units`: its end, or earlier when a begun answer is to be continued.
        salt: what separates this prompt's blocks from others' with the same text: the request's `cache_salt`.
    """

    units: str
    units_per_token: float
    from_ids: bool
    answer_from: int
    salt: str = ""

    @property
    def tokens(self) -> int:
        """Tokens in the prompt."""
        return ceil(len(self.units) / self.units_per_token)

    @property
    def whole_tokens(self) -> int:
        """Tokens that what follows the prompt cannot change: those whose units are all there."""
        tokens = int(len(self.units) / self.units_per_token)
        return tokens if boundary(tokens, self.units_per_token) <= len(self.units) else tokens - 1

    def root_hash(self) -> int:
        """Return what the first block's hash is chained to."""
        return xxh3_64_intdigest(self.salt.encode()) if self.salt else 0


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
    """Return at which unit the token number `tokens` begins."""
    return int(tokens * units_per_token)


def block_hash(units: str, parent: int) -> int:
    """Return the hash of a full block that holds `units` and follows the block `parent`."""
    return xxh3_64_intdigest(_encoded(units), seed=parent)


def chain(prompt: SimPrompt, block_tokens: int) -> list[int]:
    """Return the hashes of the prompt's full blocks, each chained to the one before."""
    hashes: list[int] = []
    parent, start = prompt.root_hash(), 0
    while (end := boundary((len(hashes) + 1) * block_tokens, prompt.units_per_token)) <= len(prompt.units):
        parent = block_hash(prompt.units[start:end], parent)
        hashes.append(parent)
        start = end
    return hashes


def token_ids(units: str, first_token: int, prompt: SimPrompt) -> tuple[int, ...]:
    """Return the ids of the tokens in `units`, which begin with the token number `first_token` of `prompt`."""
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
    # JSON can carry half a surrogate pair; such text is odd but no reason to fail.
    return units.encode("utf-32-le", "surrogatepass")
