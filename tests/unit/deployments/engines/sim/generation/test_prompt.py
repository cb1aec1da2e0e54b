"""How the simulated engine cuts prompts into tokens and blocks."""

import pytest

from deployments.engines.sim.generation.prompt import SimPrompt, chain, token_ids, units_of_ids


def text_prompt(text: str, units_per_token: float = 4.0, salt: str = "") -> SimPrompt:
    """Return a prompt of text."""
    return SimPrompt(text, units_per_token, from_ids=False, answer_from=len(text), salt=salt)


def ids_prompt(ids: list[int]) -> SimPrompt:
    """Return a prompt of token ids."""
    units = units_of_ids(ids)
    return SimPrompt(units, 1.0, from_ids=True, answer_from=len(units))


def test_tokens_are_characters_over_their_ratio() -> None:
    """A begun token counts."""
    assert [text_prompt("x" * chars).tokens for chars in (0, 1, 4, 5)] == [0, 1, 1, 2]
    assert text_prompt("x" * 10, 3.3).tokens == 4


def test_equal_beginnings_have_equal_blocks() -> None:
    """Two prompts share the hashes of the blocks before the first difference, and none after it."""
    one = chain(text_prompt("a" * 1000 + "b" * 1000), 32)
    two = chain(text_prompt("a" * 1000 + "c" * 1000), 32)
    assert len(one) == 2000 // 128
    shared = [left == right for left, right in zip(one, two, strict=True)]
    assert shared == [True] * 7 + [False] * 8


def test_a_block_is_full_or_not_there() -> None:
    """The last, partial block has no hash."""
    assert len(chain(text_prompt("x" * 127), 32)) == 0
    assert len(chain(text_prompt("x" * 128), 32)) == 1


def test_salts_share_nothing() -> None:
    """The salt goes into the first block's hash and so into all."""
    text = "x" * 500
    assert not set(chain(text_prompt(text, salt="a"), 32)) & set(chain(text_prompt(text), 32))


@pytest.mark.parametrize("units_per_token", [1.0, 3.3, 4.0])
def test_token_ids_of_a_block_are_those_of_the_prompt(units_per_token: float) -> None:
    """Cut at block boundaries, the pieces have the ids the whole has: events and prompts can be matched."""
    prompt = text_prompt("The river is old, größer als das Tal, 東京 🙂. " * 20, units_per_token)
    whole = token_ids(prompt.units, 0, prompt)
    assert len(whole) == prompt.tokens
    pieces: list[int] = []
    while len(pieces) + 8 <= len(whole):
        start, end = (int(tokens * units_per_token) for tokens in (len(pieces), len(pieces) + 8))
        pieces += token_ids(prompt.units[start:end], len(pieces), prompt)
    assert tuple(pieces) == whole[: len(pieces)]


def test_token_ids_tell_texts_apart() -> None:
    """Different tokens have different ids, equal ones equal ones."""
    ids = token_ids("river valley river a", 0, text_prompt("river valley river a"))
    assert ids[0] == token_ids("rive", 0, text_prompt("rive"))[0]
    assert len(set(ids)) == len(ids)


def test_token_id_prompts_keep_their_ids() -> None:
    """Whatever ids come in go out, across the gap of the surrogates too."""
    ids = [0, 1, 10, 0xD7FF, 0xD800, 0xDFFF, 0xE000, 0x10EFFF]
    prompt = ids_prompt(ids)
    assert token_ids(prompt.units, 0, prompt) == tuple(ids)
    assert prompt.tokens == len(ids)
    with pytest.raises(ValueError, match="Token id 1112064 is out of vocabulary"):
        units_of_ids([5, 0x10F800])


def test_half_a_surrogate_pair_is_text_too() -> None:
    """JSON can carry one; it is odd, but no reason to fail."""
    prompt = text_prompt("\ud800" * 200)
    assert len(chain(prompt, 32)) == 1
    assert len(token_ids(prompt.units, 0, prompt)) == 50
