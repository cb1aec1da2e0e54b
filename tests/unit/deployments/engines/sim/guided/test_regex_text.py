"""Texts of regular expressions."""

import re
from random import Random

import pytest

from deployments.engines.sim.guided.errors import UnfitError
from deployments.engines.sim.guided.regex_text import MAX_PATTERN_CHARS, text_matching

PATTERNS = [
    "abc",
    r"[a-c]{3}-\d{2}",
    "(red|green|blue)+",
    r"\w+@\w+\.com",
    "[^a-z]{5}",
    r"(a|b)c?\1",
    r"^start .* end$",
    "a{2,}b*?c+",
    r"[\d\s_]{4}",
    r"(?P<x>q)(?P=x)",
    r"\S\D\W",
    "(?i)HeLLo",
    "",
    "世界+",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_texts_match(pattern: str) -> None:
    """The whole text, for every seed."""
    for seed in range(20):
        assert re.fullmatch(pattern, text_matching(pattern, Random(seed)))


@pytest.mark.parametrize("pattern", ["([", "a{99999}", "x" * (MAX_PATTERN_CHARS + 1), r"a(?=b)c", "(?!)"])
def test_what_has_no_text_is_said(pattern: str) -> None:
    """A broken, an endless and a contradictory expression."""
    with pytest.raises(UnfitError):
        text_matching(pattern, Random(1))
