"""What an OpenAI-compatible server is, as far as streams that break and probes of its rates depend on it."""

from collections.abc import Mapping
from typing import Final

from router.replicas.model_card import ModelCard

VLLM: Final = "vllm"


def continues_messages(card: ModelCard) -> bool:
    """Return whether a server is known to continue a message that another one began, see `Endpoint`.

    vLLM does (`continue_final_message`), and names itself in the cards of all its models, adapters too. Most others
    ignore that field and answer anew, with no word about it.
    """
    return card.owned_by == VLLM


def model_to_probe(models: Mapping[str, ModelCard]) -> str | None:
    """Return the name of the one model that a server holds, under however many names; None: it may hold several.

    Adapters name their base model as `parent`, aliases have the same `root`. A server of several models may load one to
    answer a probe, and drop another, so it is not probed.
    """
    bases = {name: card.root or name for name, card in models.items() if card.parent is None}
    return next(iter(bases)) if len(set(bases.values())) == 1 else None
