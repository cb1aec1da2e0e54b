"""Prompts and bodies of probes: random words, so that no server has any of them cached."""

from random import Random
from typing import Any, Final

import msgspec

_TEXT: Final = """
air all and arm art ask bad bag bar bed big bit box boy bus but buy can car cat cup cut day did dog dry due ear eat egg
end eye far few fit fly for fun gas get god got gun guy had has hat her him his hit hot how ice its job key kid law lay
led leg let lie lot low man map may men met mix net new not now odd off oil old one our out own pay per put ran raw red
rid row run sad sat saw say sea see set she sit six sky son sun tax tea ten the tie tip too top try two use war was way
web wet who why win yes yet you
"""
WORDS: Final = tuple(_TEXT.split())
"""Short words of which nearly every tokenizer makes one token each."""
COMPLETIONS: Final = "/v1/completions"
CHATS: Final = "/v1/chat/completions"


def prompt_of(tokens: int, rng: Random) -> str:
    """Return a prompt of about that many tokens. With over 100 words to choose from, no two begin alike."""
    return " ".join(rng.choices(WORDS, k=max(1, tokens)))


def body_of(path: str, model: str, prompt: str, answer_tokens: int) -> bytes:
    """Return the JSON body of a probe: a streamed answer of a few tokens that tells its usage."""
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}]} if path == CHATS else {"prompt": prompt}
    return msgspec.json.encode(
        {
            "model": model,
            **asked,
            "max_tokens": answer_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )
