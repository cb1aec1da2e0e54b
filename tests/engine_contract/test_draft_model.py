"""A small model that drafts, on real vLLM: the model itself in its place, whose drafts must then be right."""

from collections.abc import Iterator

import pytest

from cluster.spec.model_spec import ModelSpec
from tests.engine_contract.contract_models import VLLM
from tests.engine_contract.served_engine import ServedEngine

pytestmark = [pytest.mark.vllm, pytest.mark.long, pytest.mark.timeout(900)]
TOKENS = 3


@pytest.fixture(scope="module")
def drafting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEngine]:
    """SmolLM2 with itself as its draft model."""
    speculative = {"method": "draft_model", "model": VLLM.source, "tokens": TOKENS}
    model = ModelSpec.model_validate(
        {
            "name": "drafted",
            "source": VLLM.source,
            "engine_args": {"dtype": "float32", "max_model_len": 512, "kv_cache_memory_bytes": 1 << 28},
            "speculative": speculative,
        }
    )
    served = ServedEngine(model, tmp_path_factory.mktemp("drafting") / "log")
    try:
        yield served.wait_ready()
    finally:
        served.close()


def test_its_drafts_are_those_that_the_model_finds_right(vllm_engine: ServedEngine, drafting: ServedEngine) -> None:
    """Nearly all are accepted at every position; the text is the model's own; each step gives nearly four tokens."""
    question = "What is the capital of France?"
    without, with_drafts = (engine.chat(question, max_tokens=48) for engine in (vllm_engine, drafting))
    said = [answer["choices"][0]["message"]["content"] for answer in (without, with_drafts)]
    assert said[0] == said[1]
    assert "Paris" in said[0]
    drafting.complete("Once upon a time", max_tokens=96, ignore_eos=True)
    told = drafting.view("stats")["speculation"]
    assert told["drafts"] > 20
    assert len(told["accepted_by_position"]) == TOKENS
    assert min(told["accepted_by_position"]) >= 0.9 * told["drafts"]
    assert told["tokens_per_step"] > 0.9 * TOKENS + 1
