"""Texts of a wanted length."""

import pytest

from deployments.load.sessions.texts import Texts
from deployments.simulator.disaggregation.kv_memory import BLOCK_TOKENS


@pytest.mark.parametrize("per_token", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("tokens", [1, 4, 7, 512, 10_000, 600_000])
def test_a_text_has_the_words_of_its_tokens(per_token: float, tokens: int) -> None:
    """The number of words is that of the tokens at the endpoint's rate, however long the text."""
    words = Texts(per_token, 0).fresh(tokens).split()
    assert len(words) == max(1, round(tokens * per_token))
    assert all(len(word) == 3 for word in words)


def test_no_two_fresh_texts_begin_alike() -> None:
    """Of ten thousand texts no two have the same first five words: nothing of them is cached by chance."""
    texts = Texts(1.0, 0)
    assert len({texts.fresh(20)[:20] for _ in range(10_000)}) == 10_000


def test_equal_blocks_are_equal_texts_in_any_run_of_a_seed() -> None:
    """A block's text is that of its number and the seed, so replays of a trace share what the trace shares."""
    first, second, other = Texts(1.0, 3), Texts(1.0, 3), Texts(1.0, 4)
    second.fresh(5)
    assert first.block(77) == second.block(77)
    assert first.block(77) != first.block(78)
    assert first.block(77) != other.block(77)


def test_what_the_endpoint_adds_is_taken_off_the_end() -> None:
    """A prompt of two blocks and a rest is shorter by the chat template's tokens, and its blocks are whole."""
    texts = Texts(1.0, 0, overhead_tokens=30)
    prompt = texts.prompt([1, 2], 2 * BLOCK_TOKENS + 100)
    assert prompt.startswith(texts.block(1) + texts.block(2))
    assert len(prompt.split()) == 2 * BLOCK_TOKENS + 70
