"""Texts of a wanted number of tokens, without a tokenizer: cut from one long text of short words.

Every word has three letters, so a text of N words is a slice, and texts of a hundred thousand tokens cost a copy. How
many words a token is on the endpoint's own tokenizer is measured before a run (`calibration.py`).
"""

from functools import lru_cache
from random import Random
from typing import Final

from deployments.simulator.disaggregation.kv_memory import BLOCK_TOKENS
from deployments.standalone.rate_probe.prompts import WORDS

_WORD_CHARS: Final = 4
"""Characters of a word and the blank after it."""
_TEXT_WORDS: Final = 262_144
_NAME_WORDS: Final = 5
"""Words at a text's beginning that no other text has there: over 100 words to choose from each."""


class Texts:
    """Makes texts; the same seed makes the same ones.

    Args:
        words_per_token: words of a token, on the endpoint's tokenizer.
        seed: another seed makes other texts.
        overhead_tokens: tokens that the endpoint adds to a prompt, such as those of a chat template.
    """

    def __init__(self, words_per_token: float, seed: int, overhead_tokens: int = 0) -> None:
        self._words_per_token = words_per_token
        self._overhead_tokens = overhead_tokens
        self._seed = seed
        self._rng = Random(f"texts {seed}")  # noqa: S311 - replayable
        self._text = " ".join(Random(_TEXT_WORDS).choices(WORDS, k=2 * _TEXT_WORDS)) + " "  # noqa: S311 - as above
        self.block = lru_cache(maxsize=4096)(self._block)

    def fresh(self, tokens: int) -> str:
        """Return a text that differs from every other from its beginning on; at least one word."""
        return self._named(self._rng.getrandbits(48), self._words(tokens))

    def prompt(self, blocks: list[int], tokens: int) -> str:
        """Return a prompt.

        Args:
            blocks: one number for each of its full blocks of `BLOCK_TOKENS` tokens; prompts with the same numbers at
                their beginning begin alike.
            tokens: its length, with what the endpoint adds.
        """
        parts = [self.block(number) for number in blocks]
        left = tokens - len(blocks) * BLOCK_TOKENS - self._overhead_tokens
        if left > 0 or not parts:
            parts.append(self.fresh(left))
        return "".join(parts)

    def _block(self, number: int) -> str:
        return self._named(Random(f"{self._seed} {number}").getrandbits(48), self._words(BLOCK_TOKENS))  # noqa: S311

    def _words(self, tokens: int) -> int:
        return max(1, round(tokens * self._words_per_token))

    def _named(self, number: int, words: int) -> str:
        """Return a text of that many words: its name, then a slice of the long text."""
        name = []
        for _ in range(min(_NAME_WORDS, words)):
            number, place = divmod(number, len(WORDS))
            name.append(WORDS[place])
        left = words - len(name)
        start = number % _TEXT_WORDS
        parts = [" ".join(name), " "]
        while left > 0:
            taken = min(left, _TEXT_WORDS)
            parts.append(self._text[_WORD_CHARS * start : _WORD_CHARS * (start + taken)])
            left -= taken
        return "".join(parts)
