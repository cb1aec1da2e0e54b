"""Model cards: what a server's `/v1/models` says of each of its models, beside the name."""

import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

MAX_NAME = 512
"""Characters of the longest model name that is taken from a server."""
MAX_MODELS = 4096
"""Models that are taken from one server at most: the base model and its adapters."""
MAX_PERMISSION_BYTES = 4096
"""Size above which a card's `permission` is left out; vLLM's has 300 bytes."""
_UNSAFE = frozenset({"Cc", "Cs"})
"""Unicode categories that no name may have: control characters, and surrogates, which no JSON can carry."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One model as its server announces it. vLLM makes `created` and `permission` anew for each answer: not compared.

    Attributes:
        root: the model that the name stands for: a folder or a Hugging Face id; None: not told.
        parent: for an adapter, the name of its base model; None: it has none.
        max_model_len: most tokens of prompt and answer together; None: not told.
        owned_by: who serves it: `vllm`, `sglang`, …
        created: when it was made, Unix seconds; 0: not told.
        permission: the `permission` list, as JSON.
    """

    root: str | None = None
    parent: str | None = None
    max_model_len: int | None = None
    owned_by: str = "rackserve"
    created: int = field(default=0, compare=False)
    permission: bytes = field(default=b"[]", compare=False)


@dataclass(frozen=True, slots=True)
class Announced:
    """The models that a server announces.

    Attributes:
        models: each model's card, by name, in the server's order.
        refused: names that cannot be taken, shortened: too long, or with control characters; at most ten.
    """

    models: Mapping[str, ModelCard]
    refused: tuple[str, ...] = ()


def agreed(cards: Iterable[ModelCard | None]) -> ModelCard:
    """Return one card for a model of several replicas: the first, with the smallest `max_model_len` of all."""
    told = [card for card in cards if card is not None]
    if not told:
        return ModelCard()
    lengths = [card.max_model_len for card in told if card.max_model_len is not None]
    return replace(told[0], max_model_len=min(lengths, default=None))


def announced_in(body: bytes) -> Announced:
    """Return the models in an answer of `/v1/models`.

    The list is at `data`; some servers answer with the list alone, or with null where they have no model.

    Raises:
        ValueError: the body is no list of models; the message says what is wrong.
    """
    try:
        answer = json.loads(body)  # unlike msgspec it reads lone surrogates, so one such name costs no others
    except ValueError as error:
        raise ValueError(f"/v1/models is no JSON: {error}") from error
    rows = answer.get("data", ()) if isinstance(answer, dict) and "data" in answer else answer
    if rows is None:
        rows = []
    if not isinstance(rows, list):
        raise ValueError("/v1/models has no list `data`")  # noqa: TRY004 - it is the server's value that is wrong
    models: dict[str, ModelCard] = {}
    refused: list[str] = []
    for row in rows:
        name = row.get("id") if isinstance(row, dict) else None
        if not isinstance(name, str) or not name:
            raise ValueError("/v1/models has a row without `id`")
        if len(models) >= MAX_MODELS or not may_be_routed(name):
            refused.append(name[:80])
        else:
            models.setdefault(name, _card(row))
    return Announced(models, tuple(refused[:10]))


def may_be_routed(name: str) -> bool:
    """Tell whether an announced name can be listed, asked for and shown: it is bounded, without control characters."""
    return len(name) <= MAX_NAME and not any(unicodedata.category(character) in _UNSAFE for character in name)


def _card(row: Mapping[str, Any]) -> ModelCard:
    permission = msgspec.json.encode(row["permission"]) if isinstance(row.get("permission"), list) else b"[]"
    length = _number(row.get("max_model_len"))
    return ModelCard(
        root=_text(row.get("root")),
        parent=_text(row.get("parent")),
        max_model_len=length if length and length > 0 else None,
        owned_by=_text(row.get("owned_by")) or "unknown",
        created=_number(row.get("created")) or 0,
        permission=permission if len(permission) <= MAX_PERMISSION_BYTES else b"[]",
    )


def _text(value: object) -> str | None:
    return value[:MAX_NAME] if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and abs(value) < 2**53 else None
