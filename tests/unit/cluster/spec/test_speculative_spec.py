"""Speculative decoding in the cluster file: what is accepted, what each method needs, and what pools may say."""

import pytest

from cluster.errors import SpecError
from cluster.spec.cluster_file import load
from cluster.spec.model_parts.speculative_spec import SpeculativeSpec

MODEL = "models:\n  - {{name: m, engine: sim, speculative: {}}}\n"


def _problem(speculative: str) -> str:
    with pytest.raises(SpecError) as caught:
        load(MODEL.format(speculative), "test.yaml")
    (problem,) = caught.value.problems
    assert problem.path.startswith("models[0].speculative")
    return problem.message


@pytest.mark.parametrize(
    ("speculative", "words"),
    [
        ("{method: draft_model}", ["model is missing", "the small model that drafts"]),
        ("{method: eagle}", ["model is missing", "the head's checkpoint"]),
        ("{method: mtp, model: a/b}", ["model is of no use to mtp"]),
        ("{method: ngram, lookup_min: 5, lookup_max: 3}", ["lookup_min is 5 but lookup_max is 3"]),
        ("{method: suffix, lookup_max: 3}", ["lookup_max belong to ngram, not to suffix"]),
        ("{method: eagle3, lookup_min: 2}", ["model is missing", "lookup_min belong to ngram"]),
        ("{method: ngrams}", ["must be one of", "'ngram'"]),
        ("{method: ngram, tokens: 0}", ["greater than or equal to 1"]),
        ("{tokens: 3}", ["missing"]),
    ],
)
def test_what_does_not_fit_the_method_is_told(speculative: str, words: list[str]) -> None:
    """Before anything starts, all of it at once, with what would be right."""
    message = _problem(speculative)
    assert all(word in message for word in words), message


def test_each_method_has_its_own_default() -> None:
    """A method alone is enough, where it needs no other model."""
    found = {method: SpeculativeSpec(method=method).draft_tokens for method in ("none", "ngram", "mtp", "suffix")}
    assert found == {"none": 0, "ngram": 5, "mtp": 1, "suffix": 24}
    assert SpeculativeSpec(method="ngram", tokens=2).draft_tokens == 2


def test_one_bound_of_the_lookup_moves_the_other() -> None:
    """Never a smallest above the largest."""
    assert SpeculativeSpec(method="ngram").lookup == (2, 4)
    assert SpeculativeSpec(method="ngram", lookup_min=6).lookup == (6, 6)
    assert SpeculativeSpec(method="ngram", lookup_max=1).lookup == (1, 1)
    assert SpeculativeSpec(method="ngram", lookup_min=3, lookup_max=9).lookup == (3, 9)


def test_a_pool_has_its_own_or_the_models_or_none() -> None:
    """What a pool says takes the place of the model's as a whole, `none` too."""
    text = """
    models:
      - name: m
        engine: sim
        speculative: {method: ngram, tokens: 3, lookup_max: 5}
        pools:
          - {name: wide, speculative: {method: none}}
          - {name: fast, speculative: {method: mtp, tokens: 2}}
          - {name: same}
    """
    wide, fast, same = (pool.speculative for pool in load(text, "f").in_pools())
    assert (wide.draft_tokens, fast.draft_tokens, same.draft_tokens) == (0, 2, 3)
    assert (fast.method, fast.lookup_max, same.lookup) == ("mtp", None, (2, 5))
