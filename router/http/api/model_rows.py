"""Rows of /v1/models, from what a model's replicas say of it."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from router.replicas.model_card import ModelCard

_LAST_S = 253_402_300_799
"""The last second of the year 9999, in Unix seconds: the last that a date can show."""


def openai_row(name: str, card: ModelCard) -> dict[str, Any]:
    """Return a model's row in OpenAI's shape, with the fields that vLLM adds."""
    return {
        "id": name,
        "object": "model",
        "created": card.created,
        "owned_by": card.owned_by,
        "root": card.root if card.root is not None else name,
        "parent": card.parent,
        "max_model_len": card.max_model_len,
        "permission": msgspec.Raw(card.permission),
    }


def anthropic_row(name: str, card: ModelCard) -> dict[str, Any]:
    """Return a model's row in Anthropic's shape."""
    created = datetime.fromtimestamp(min(max(0, card.created), _LAST_S), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": "model", "id": name, "display_name": name, "created_at": created}
