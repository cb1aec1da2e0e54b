"""Reads the text of each token id from a tokenizer's vocabulary."""

import re
from collections.abc import Mapping

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_WORD_START = "\u2581"
"""A space in SentencePiece's vocabularies."""
_SPACE = "\u0120"
"""A space in byte-level BPE's vocabularies."""


def token_texts(vocabulary: Mapping[str, int]) -> list[bytes]:
    """Return each id's text as bytes; b"" for ids without a token.

    Reads the two kinds of vocabularies: byte-level BPE, one character per byte (GPT-2's `bytes_to_unicode`), and
    SentencePiece, plain text with marked spaces and with bytes as `<0x0A>`. A special token's text is its name.

    Args:
        vocabulary: the id of each token, special ones included.
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
            except KeyError:  # an added token, written as plain text
                pass
        elif found := _BYTE.fullmatch(token):
            texts[number] = bytes([int(found[1], 16)])
            continue
        texts[number] = token.replace(_WORD_START, " ").encode("utf-8", "surrogatepass")
    return texts


def _byte_of_character() -> dict[str, int]:
    """Return the byte for each character of a byte-level vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}
