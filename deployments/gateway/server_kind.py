"""What an OpenAI-compatible server is, as far as streams that break depend on it."""

from collections.abc import Mapping
from typing import Any

VLLM = "vllm"


def continues_messages(card: Mapping[str, Any]) -> bool:
    """Return whether a server is known to continue a message that another one began, see `Endpoint`.

    vLLM does (`continue_final_message`). Most others ignore that field and answer anew, with no word about it.

    Args:
        card: the model's entry in the server's `/v1/models`. vLLM names itself there, for adapters too.
    """
    return card.get("owned_by") == VLLM
