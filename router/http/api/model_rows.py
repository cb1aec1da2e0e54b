"""Rows of /v1/models, from what a model's replicas say of it."""

from typing import Any

import msgspec

from router.replicas.model_card import ModelCard


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
