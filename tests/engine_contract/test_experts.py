"""A mixture of experts on real vLLM, its experts whole and dealt to ranks: the same tokens as one process."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cluster.spec.model_spec import ModelSpec
from tests.engine_contract.expert_model import build
from tests.engine_contract.served_engine import ServedEngine

pytestmark = [pytest.mark.vllm, pytest.mark.long, pytest.mark.timeout(1200)]

PROMPTS = tuple(f"Tell me about number {number}, and then about its neighbours." for number in range(6))
TOKENS = 24
WAYS: dict[str, dict[str, Any]] = {
    "tensor 2": {"tensor": 2},
    "tensor 2, experts whole": {"tensor": 2, "expert": 2},
    "data 2, experts whole": {"data": 2, "expert": 2},
    "data 2": {"data": 2},
}


def _served(folder: Path, log: Path, parallel: dict[str, Any]) -> ServedEngine:
    model = ModelSpec.model_validate(
        {
            "name": "mixture",
            "source": str(folder),
            "parallel": parallel,
            "gpus_per_replica": 0,
            # Sums over ranks come in another order than on one; in float32 near-ties do not decide a token.
            "engine_args": {"dtype": "float32", "max_model_len": 512, "kv_cache_memory_bytes": 1 << 26},
        }
    )
    served = ServedEngine(model, log)
    served.wait_ready()
    return served


def _tokens(served: ServedEngine) -> list[list[int]]:
    """Return the tokens of the answers to all prompts, asked at once so that several ranks have some."""

    def ask(prompt: str) -> list[int]:
        answer = served.ok(
            "/v1/completions", prompt=prompt, max_tokens=TOKENS, temperature=0, ignore_eos=True, return_token_ids=True
        )
        found: list[int] = answer["choices"][0]["token_ids"]
        return found

    with ThreadPoolExecutor(len(PROMPTS)) as pool:
        return list(pool.map(ask, PROMPTS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's folder."""
    return build(tmp_path_factory.mktemp("mixture"))


@pytest.fixture(scope="module")
def reference(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[int]]:
    """What one process answers: something of its own to each prompt."""
    served = _served(folder, tmp_path_factory.mktemp("logs") / "one.log", {})
    try:
        answers = _tokens(served)
    finally:
        served.close()
    assert all(len(answer) == TOKENS for answer in answers)
    assert len({tuple(answer) for answer in answers}) == len(PROMPTS)
    return answers


@pytest.mark.parametrize("way", WAYS)
def test_ranks_answer_as_one_process(way: str, folder: Path, reference: list[list[int]], tmp_path: Path) -> None:
    """Twice, as the first answers come while ranks begin."""
    served = _served(folder, tmp_path / "ranks.log", WAYS[way])
    try:
        assert _tokens(served) == reference
        assert _tokens(served) == reference
    finally:
        served.close()
