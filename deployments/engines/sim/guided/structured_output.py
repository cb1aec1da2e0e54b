"""The text of an answer whose form a request gives: a JSON schema, one of several texts, or a regular expression."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from deployments.engines.sim.guided.errors import UnfitError
from deployments.engines.sim.guided.regex_text import text_matching
from deployments.engines.sim.guided.schema_value import value_of

ANY_OBJECT = {"type": "object", "additionalProperties": {"type": "string"}}
"""The schema of an answer of which only is said that it is a JSON object."""


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """The answer is JSON that fits a schema."""

    schema: Any


@dataclass(frozen=True, slots=True)
class Choice:
    """The answer is one of these texts."""

    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Regex:
    """The whole answer matches a regular expression."""

    pattern: str


AnswerForm = JsonSchema | Choice | Regex


def text_of(form: AnswerForm, seed: int) -> str:
    """Return a text of a form; equal seeds give equal texts.

    Raises:
        UnfitError: the form is wrong, or no text was found.
    """
    match form:
        case JsonSchema(schema):
            return json.dumps(value_of(schema, seed), ensure_ascii=False)
        case Regex(pattern):
            return text_matching(pattern, Random(seed))  # noqa: S311 - nothing secret
        case Choice(texts):
            if not texts:
                raise UnfitError("Choice '[]' cannot be an empty list")
            return texts[seed % len(texts)]
