"""Tokens counted here, for endpoints that do not count them."""

from pathlib import Path

import pytest

from cluster.errors import SpecError
from deployments.load.client.tokenizer import token_counter

tokenizers = pytest.importorskip("tokenizers", reason="it comes with the engine")


def test_a_text_is_counted_by_the_models_tokenizer(tmp_path: Path) -> None:
    """Three words are three tokens of a tokenizer of whole words, whether its file or its folder is named."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"one": 0, "two": 1, "?": 2}, unk_token="?"))  # noqa: S106
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        assert token_counter(path)("one two three") == 3


def test_what_is_no_tokenizer_is_said(tmp_path: Path) -> None:
    """A folder without one, by its name."""
    with pytest.raises(SpecError, match=r"tokenizer\.json.*is no tokenizer"):
        token_counter(tmp_path)
