"""How a model's tokens are drafted, several at a time, before the model itself verifies them in one step."""

from collections.abc import Iterator
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from cluster.spec.parts.part import Part

Method = Literal["none", "ngram", "draft_model", "eagle", "eagle3", "mtp", "suffix"]

OF_ANOTHER_CHECKPOINT: Final = frozenset({"draft_model", "eagle", "eagle3"})
"""Methods whose drafts come from weights of their own, so that `model` must name them."""
DEFAULT_TOKENS: Final = {"none": 0, "ngram": 5, "draft_model": 5, "eagle": 3, "eagle3": 3, "mtp": 1, "suffix": 24}
"""Tokens of a draft where the file gives none: those of vLLM's own examples, and for suffixes vLLM's default."""
DEFAULT_LOOKUP: Final = (2, 4)
"""Tokens of the shortest and the longest end of the text that is looked for in the text before it."""

_Lookup = Annotated[int, Field(ge=1, le=64)]


class SpeculativeSpec(Part):
    """Speculative decoding: a step verifies drafted tokens, and a sequence gets those that are right and one more.

    The answers are those that the model would have given without it. It makes them faster where drafts are often right,
    as in answers that copy from their prompts, and slower where they are not.

    Attributes:
        method: where drafts come from. `ngram`: from the text itself, after an earlier place with the same last tokens;
            `suffix`: the same, from earlier answers too; `draft_model`: from a small model; `eagle` and `eagle3`: from
            a head trained for the model; `mtp`: from the model's own layers for it; `none`: nothing is drafted, as a
            pool may say whose model says otherwise.
        tokens: most tokens of a draft; unset: 5 (`ngram`, `draft_model`), 3 (`eagle`, `eagle3`), 1 (`mtp`) or
            24 (`suffix`).
        model: the draft model or the head, as in the model's `source`.
        lookup_min: with `ngram`, fewest last tokens that an earlier place must share; unset: 2, or a smaller
            `lookup_max`.
        lookup_max: with `ngram`, most last tokens that are looked for; unset: 4, or a larger `lookup_min`.
    """

    method: Method
    tokens: Annotated[int, Field(ge=1, le=256)] | None = None
    model: str = ""
    lookup_min: _Lookup | None = None
    lookup_max: _Lookup | None = None

    @model_validator(mode="after")
    def _keys_fit_the_method(self) -> Self:
        wrong = "; ".join(self._problems())
        if wrong:
            raise ValueError(wrong)
        return self

    def _problems(self) -> Iterator[str]:
        if self.method in OF_ANOTHER_CHECKPOINT and not self.model:
            what = "the small model that drafts" if self.method == "draft_model" else "the head's checkpoint"
            yield f"model is missing: {self.method} needs {what}, a Hugging Face id, a folder or a built-in name"
        if self.model and self.method not in OF_ANOTHER_CHECKPOINT:
            yield f"model is of no use to {self.method}, which drafts without another model; leave it out"
        given = [key for key in ("lookup_min", "lookup_max") if getattr(self, key) is not None]
        if given and self.method != "ngram":
            yield f"{' and '.join(given)} belong to ngram, not to {self.method}; leave them out"
        if self.lookup_min and self.lookup_max and self.lookup_min > self.lookup_max:
            yield f"lookup_min is {self.lookup_min} but lookup_max is {self.lookup_max}; min must not be above max"
        if self.tokens and self.method == "none":
            yield "tokens are of no use to none, which drafts nothing; leave them out"

    @property
    def draft_tokens(self) -> int:
        """Most tokens of a draft; 0: nothing is drafted."""
        return DEFAULT_TOKENS[self.method] if self.tokens is None else self.tokens

    @property
    def lookup(self) -> tuple[int, int]:
        """The fewest and most last tokens that `ngram` looks for."""
        fewest, most = DEFAULT_LOOKUP
        if self.lookup_min is None and self.lookup_max is not None:
            fewest = min(fewest, self.lookup_max)
        if self.lookup_max is None and self.lookup_min is not None:
            most = max(most, self.lookup_min)
        return self.lookup_min or fewest, self.lookup_max or most

    @property
    def finds_drafts(self) -> bool:
        """Whether a draft depends on what is found in texts, so that some steps of a sequence have none."""
        return self.method in {"ngram", "suffix"}


NO_SPECULATION: Final = SpeculativeSpec(method="none")
