"""What an OpenAI-compatible server is, as far as streams that break depend on it."""

from router.replicas.model_card import ModelCard

VLLM = "vllm"


def continues_messages(card: ModelCard) -> bool:
    """Return whether a server is known to continue a message that another one began, see `Endpoint`.

    vLLM does (`continue_final_message`). Most others ignore that field and answer anew, with no word about it.

    Args:
        card: what the server says of the model. vLLM names itself there, for adapters too.
    """
    return card.owned_by == VLLM
