"""What an OpenAI-compatible server is, as far as streams that break depend on it."""

from typing import Final

from router.replicas.model_card import ModelCard

VLLM: Final = "vllm"


def continues_messages(card: ModelCard) -> bool:
    """Return whether a server is known to continue a message that another one began, see `Endpoint`.

    vLLM does (`continue_final_message`), and names itself in the cards of all its models, adapters too. Most others
    ignore that field and answer anew, with no word about it.
    """
    return card.owned_by == VLLM
