"""What each token id stands for, read from a tokenizer's vocabulary."""

import re
from collections.abc import Mapping

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_WORD_START = "\u2581"
"""SentencePiece writes a space so."""
_SPACE = "\u0120"
"""Byte-level BPE writes a space so."""


def token_texts(vocabulary: Mapping[str, int]) -> list[bytes]:
    """Return each id's text as bytes, b"" for ids that no token has.

    Knows the two ways vocabularies are written: byte-level BPE, a character a byte (GPT-2's `bytes_to_unicode`), and
    SentencePiece, plain text with marked spaces and bytes as `<0x0A>`. Special tokens stand for their names.

    Args:
        vocabulary: tokens and their ids, special ones included.
    """
    byte_level = sum(token.startswith(_SPACE) for token in vocabulary) > sum(
        token.startswith(_WORD_START) for token in vocabulary
    )
    bytes_of = _byte_of_character() if byte_level else {}
    texts = [b""] * (max(vocabulary.values(), default=-1) + 1)
    for token, number in vocabulary.items():
        if byte_level:
            try:
                texts[number] = bytes(map(bytes_of.__getitem__, token))
                continue
            except KeyError:  # an added token, as it is
                pass
        elif found := _BYTE.fullmatch(token):
            texts[number] = bytes([int(found[1], 16)])
            continue
        texts[number] = token.replace(_WORD_START, " ").encode("utf-8", "surrogatepass")
    return texts


def _byte_of_character() -> dict[str, int]:
    """Return the byte that each character of a byte-level vocabulary stands for."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}
