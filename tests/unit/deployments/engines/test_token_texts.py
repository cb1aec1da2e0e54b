"""What token ids stand for, in the two ways vocabularies are written."""

from deployments.engines.token_texts import token_texts


def test_byte_level_vocabularies_are_bytes() -> None:
    """A character of the vocabulary is a byte: words with a space, halves of characters, special tokens by name."""
    vocabulary = {"Ġhello": 0, "Ċ": 1, "Ã": 2, "©": 3, "<|im_start|>": 5, "!": 6}
    texts = token_texts(vocabulary)
    assert texts == [b" hello", b"\n", b"\xc3", b"\xa9", b"", b"<|im_start|>", b"!"]
    assert (texts[2] + texts[3]).decode() == "é"


def test_sentencepiece_vocabularies_are_text() -> None:
    """Text stands as it is, spaces are marked, bytes have names."""
    vocabulary = {"▁hello": 0, "<0x0A>": 1, "é": 2, "東京": 3, "</s>": 4}
    assert token_texts(vocabulary) == [b" hello", b"\n", "é".encode(), "東京".encode(), b"</s>"]


def test_every_byte_has_its_character() -> None:
    """All 256 bytes of a byte-level vocabulary are told apart."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    characters = [chr(byte) for byte in printable] + [chr(256 + place) for place in range(256 - len(printable))]
    texts = token_texts({"Ġ" + character: number for number, character in enumerate(characters)})
    assert {text[1:] for text in texts} == {bytes([byte]) for byte in range(256)}


def test_an_empty_vocabulary_says_nothing() -> None:
    """No tokens, no texts."""
    assert token_texts({}) == []
