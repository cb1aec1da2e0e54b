"""The simulated engine's tokens can be read again."""

import pytest

from deployments.engines.sim.generation.prompt import SimPrompt, boundary, token_ids
from deployments.engines.sim.generation.vocabulary import SimVocabulary


@pytest.mark.parametrize("per_token", [1.0, 2.5, 4.0])
def test_a_prompts_tokens_spell_it(per_token: float) -> None:
    """Put together, the texts of a prompt's ids are the prompt, and those of a stretch the stretch."""
    text = "naïve 東京 café 🙂 and some plain words " * 5
    prompt = SimPrompt(text, per_token, from_ids=False, answer_from=len(text))
    vocabulary = SimVocabulary()
    ids = token_ids(text, 0, prompt)
    vocabulary.learn(ids, text, 0, prompt)
    assert b"".join(vocabulary[token] for token in ids).decode() == text
    rest = text[boundary(7, per_token) :]
    rest_ids = token_ids(rest, 7, prompt)
    vocabulary.learn(rest_ids, rest, 7, prompt)
    assert b"".join(vocabulary[token] for token in rest_ids).decode() == rest


def test_ids_never_seen_are_unknown() -> None:
    """An id without a text says so."""
    with pytest.raises(LookupError):
        SimVocabulary()[17]
