"""Data-parallel ranks of the simulated engine: load and cache of each, and who picks. Real vLLM: `test_experts.py`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from cluster.spec.model_spec import ModelSpec
from tests.engine_contract.served_engine import ServedEngine

MODEL = ModelSpec.model_validate(
    {
        "name": "m",
        "engine": "sim",
        "parallel": {"data": 2},
        "gpus_per_replica": 0,
        "sim": {"inter_token_s": 0.01, "kv_blocks": 2000},
    }
)
PATH = "/v1/completions"


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEngine]:
    """An engine of two ranks, ready."""
    served = ServedEngine(MODEL, tmp_path_factory.mktemp("ranks") / "sim.log")
    try:
        yield served.wait_ready()
    finally:
        served.close()


def _ask(ranked: ServedEngine, prompt: str, rank: int | None, tokens: int = 2) -> dict[str, Any]:
    headers = {} if rank is None else {"x-data-parallel-rank": str(rank)}
    response = ranked.post(PATH, {"model": "m", "prompt": prompt, "max_tokens": tokens}, **headers)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def _prompt(name: str) -> str:
    return f"{name}: " + "the quick brown fox jumps over it again, " * 40


def test_capacity_is_each_ranks_own(ranked: ServedEngine) -> None:
    """Two ranks have two caches; the engine's is both."""
    assert [stats["kv_capacity_tokens"] for stats in ranked.view("rank-stats")] == [2000 * MODEL.sim.block_tokens] * 2
    assert ranked.view("stats")["kv_capacity_tokens"] == 2 * 2000 * MODEL.sim.block_tokens


@contextmanager
def _held(ranked: ServedEngine, prompt: str, rank: int) -> Iterator[None]:
    """Hold a request on a rank until the block is left."""
    body = {"model": "m", "prompt": prompt, "max_tokens": 20_000, "stream": True, "ignore_eos": True}
    headers = {"x-data-parallel-rank": str(rank)}
    with httpx.stream("POST", ranked.url + PATH, json=body, headers=headers, timeout=60) as answer:
        assert answer.status_code == 200
        pieces = answer.iter_raw()  # kept, as its end would close the connection
        next(pieces)
        yield
    ranked.wait_stats(lambda stats: stats["running"] == 0, within_s=10)


def test_a_request_is_on_the_rank_that_it_names(ranked: ServedEngine) -> None:
    """Its load and its blocks are there alone, and a second prompt finds them there alone."""
    for rank in (0, 1):
        prompt = _prompt(f"named {rank}")
        with _held(ranked, prompt, rank):
            stats = ranked.view("rank-stats")
            assert (stats[rank]["running"], stats[1 - rank]["running"]) == (1, 0)
            claims = [ranked.claims(PATH, {"prompt": prompt}, each)["tokens"] for each in (0, 1)]
            assert claims[rank] > 300
            assert claims[1 - rank] == 0
            usages = [_ask(ranked, prompt, each)["usage"] for each in (rank, 1 - rank)]
            cached = [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages]
            assert cached[0] > 300
            assert cached[1] == 0


def _answered(ranked: ServedEngine) -> list[float]:
    return [ranked.metric("vllm:request_success_total", engine=str(rank), finished_reason="length") for rank in (0, 1)]


def test_without_a_rank_the_emptiest_one_is_taken(ranked: ServedEngine) -> None:
    """A busy rank gets none of what comes; equal ones get one each in turn."""
    before = _answered(ranked)
    for number in range(6):
        _ask(ranked, f"alone {number}", None)
    assert [now - then for now, then in zip(_answered(ranked), before, strict=True)] == [3, 3]
    with _held(ranked, "busy", 0):
        before = _answered(ranked)
        for number in range(6):
            _ask(ranked, f"free {number}", None)
        assert [now - then for now, then in zip(_answered(ranked), before, strict=True)] == [0, 6]


def test_a_rank_that_is_not_there_is_refused(ranked: ServedEngine) -> None:
    """In vLLM's words; what is no number counts as none, as in vLLM."""
    body = {"model": "m", "prompt": "hi", "max_tokens": 1}
    refused = ranked.post(PATH, body, **{"x-data-parallel-rank": "2"})
    assert refused.status_code == 400
    assert "data_parallel_rank 2 is out of range [0, 2)" in refused.text
    assert ranked.post(PATH, body, **{"x-data-parallel-rank": "first"}).status_code == 200


def test_metrics_are_told_by_rank(ranked: ServedEngine) -> None:
    """With vLLM's label `engine`."""
    before = [ranked.metric("vllm:generation_tokens_total", engine=str(rank)) for rank in (0, 1)]
    _ask(ranked, "count me", 1, 5)
    after = [ranked.metric("vllm:generation_tokens_total", engine=str(rank)) for rank in (0, 1)]
    assert [now - then for now, then in zip(after, before, strict=True)] == [0, 5]
