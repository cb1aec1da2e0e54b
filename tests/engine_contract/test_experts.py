"""A mixture of experts on real vLLM, its experts whole and dealt to ranks: the same tokens as one process."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cluster.spec.model_spec import ModelSpec
from tests.engine_contract.expert_model import build
from tests.engine_contract.served_engine import ServedEngine
from tests.machine_speed import slowness

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


def _asked_of(rank: int, served: ServedEngine, path: str, prompt: str) -> dict[str, Any]:
    """Return a rank's answer, by one of two APIs: vLLM reads the header for one of them alone."""
    said = (
        {"prompt": prompt, "max_tokens": 4} if path == "/v1/completions" else {"input": prompt, "max_output_tokens": 4}
    )
    body = {"model": "mixture", "temperature": 0, "store": False} | said
    if path == "/v1/completions":
        del body["store"]
    response = served.post(path, body, **{"x-data-parallel-rank": str(rank)})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def _waits_until_cached(served: ServedEngine, body: dict[str, Any], rank: int) -> int:
    """Return the tokens of a completion's prompt that a rank claims to hold, once it claims some."""
    give_up = time.monotonic() + 30 * slowness()
    while not (tokens := served.claims("/v1/completions", body, rank)["tokens"]):
        assert time.monotonic() < give_up, f"rank {rank} tells of no cached block"
        time.sleep(0.1)
    return tokens


@pytest.mark.parametrize("way", ["data 2, experts whole", "data 2"])
def test_each_rank_is_picked_and_tells_of_itself(way: str, folder: Path, tmp_path: Path) -> None:
    """A request goes to the rank that it names, whose cache and load alone change; one that is not there is refused."""
    served = _served(folder, tmp_path / "ranks.log", WAYS[way])
    try:
        before = served.view("rank-stats")
        assert len(before) == 2
        assert all(stats["kv_capacity_tokens"] > 0 for stats in before)
        assert served.view("stats")["kv_capacity_tokens"] == sum(stats["kv_capacity_tokens"] for stats in before)
        for rank, path in ((1, "/v1/completions"), (0, "/v1/responses")):
            prompt = f"{path} of rank {rank}: " + " ".join(f"word {number}" for number in range(80))
            served.view("events")
            _asked_of(rank, served, path, prompt)
            second = _asked_of(rank, served, path, prompt)["usage"]
            details = second.get("prompt_tokens_details") or second["input_tokens_details"]
            assert details["cached_tokens"] >= 64, "the second prompt found the first one's blocks, so it was there too"
            give_up = time.monotonic() + 30 * slowness()
            stored: list[dict[str, Any]] = []
            while not stored:
                assert time.monotonic() < give_up, f"rank {rank} tells of no block"
                stored = [event for kind, event in served.view("events") if kind == "BlockStored"]
            assert {event["rank"] for event in stored} == {rank}
            if path == "/v1/completions":
                assert _waits_until_cached(served, {"prompt": prompt}, rank) >= 64
                assert served.claims(path, {"prompt": prompt}, 1 - rank)["tokens"] == 0
                after = served.view("rank-stats")
                assert after[rank]["prefill_tokens_per_s"] > 0
                assert after[1 - rank]["prefill_tokens_per_s"] == 0, "it computed nothing since the warm-up"
        with ThreadPoolExecutor(3) as pool:
            long = {"model": "mixture", "prompt": "Go on", "max_tokens": 200, "ignore_eos": True}
            answers = [
                pool.submit(served.post, "/v1/completions", long, **{"x-data-parallel-rank": "1"}) for _ in range(3)
            ]
            seen: list[list[dict[str, Any]]] = []
            while not all(answer.done() for answer in answers):
                seen.append(served.view("rank-stats"))
            assert max(stats[1]["running"] for stats in seen) == 3
            assert max(stats[0]["running"] + stats[0]["waiting"] for stats in seen) == 0
        refused = served.post("/v1/completions", {"model": "mixture", "prompt": "Hi"}, **{"x-data-parallel-rank": "2"})
        assert refused.status_code == 400
    finally:
        served.close()


@pytest.mark.parametrize("way", WAYS)
def test_ranks_answer_as_one_process(way: str, folder: Path, reference: list[list[int]], tmp_path: Path) -> None:
    """Twice, as the first answers come while ranks begin."""
    served = _served(folder, tmp_path / "ranks.log", WAYS[way])
    try:
        assert _tokens(served) == reference
        assert _tokens(served) == reference
    finally:
        served.close()
