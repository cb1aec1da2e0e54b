"""The texts of the simulated engine's token ids, learned from the prompts it has seen, for it has no vocabulary."""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil

from deployments.engines.sim.generation.prompt import SimPrompt, boundary

MAX_TOKENS = 1 << 18
"""Tokens remembered; beyond it all are forgotten before the next text is learned."""


class SimVocabulary:
    """Token ids and their texts; implements `interface.TokenTexts`."""

    def __init__(self) -> None:
        self._texts: dict[int, bytes] = {}

    def __getitem__(self, token_id: int) -> bytes:
        return self._texts[token_id]

    def get(self, token_id: int) -> bytes:
        """Return a token's text; b"" if it is not known."""
        return self._texts.get(token_id, b"")

    def learn(self, ids: Sequence[int], units: str, first_token: int, prompt: SimPrompt) -> None:
        """Remember the texts of token ids.

        Args:
            ids: the result of `prompt.token_ids` for the other arguments.
            units: part of a prompt or of its answer.
            first_token: number of the token that begins `units`.
            prompt: the prompt.
        """
        if prompt.from_ids:
            return
        if len(self._texts) > MAX_TOKENS:
            self._texts.clear()
        per_token = prompt.units_per_token
        origin = boundary(first_token, per_token)
        past_last = ceil((origin + len(units)) / per_token)
        bounds = [boundary(token, per_token) - origin for token in range(first_token, past_last + 1)]
        pieces = (units[start:end].encode("utf-8", "surrogatepass") for start, end in pairwise(bounds))
        self._texts.update(zip(ids, pieces, strict=True))
