"""LoRA adapters come and go while an engine runs; it says which it can serve and which it has loaded."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from deployments.models.source import model_folder
from tests.engine_contract.served_engine import ServedEngine, stream
from tests.lora_adapters import Weights, merged_answer, random_weights, write_adapter

QUESTION = "What is the capital of France?"
TOKENS = 12


@pytest.fixture(scope="module")
def weights() -> Mapping[str, Weights]:
    """The weights of three adapters."""
    return {name: random_weights(seed) for seed, name in enumerate(("sql", "poet", "third"), start=1)}


@pytest.fixture(scope="module")
def folders(weights: Mapping[str, Weights], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Their folders; the simulated engine does not look into them."""
    pytest.importorskip("safetensors", reason="adapters are written with safetensors, which comes with vLLM")
    folder = tmp_path_factory.mktemp("adapters")
    return {name: str(write_adapter(folder / name, each)) for name, each in weights.items()}


@pytest.fixture
def adapted(engine: ServedEngine, folders: Mapping[str, str]) -> Iterator[ServedEngine]:
    """The engine with two adapters; without any when the test has ended."""
    engine.set_adapters(sql=folders["sql"], poet=folders["poet"])
    yield engine
    engine.set_adapters()


def _said(engine: ServedEngine, model: str) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": TOKENS, "temperature": 0}
    response = engine.post("/v1/chat/completions", body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    assert answer["model"] == model
    return str(answer["choices"][0]["message"]["content"])


def test_each_adapter_answers_in_its_own_way(adapted: ServedEngine) -> None:
    """Two adapters and their base model give three texts, each the same when it is asked again."""
    base = adapted.model.name
    first = {model: _said(adapted, model) for model in (base, "sql", "poet")}
    assert len(set(first.values())) == 3
    assert {model: _said(adapted, model) for model in (base, "sql", "poet")} == first


@pytest.mark.vllm
@pytest.mark.timeout(600)
def test_texts_are_those_of_merged_weights(
    vllm_engine: ServedEngine, folders: Mapping[str, str], weights: Mapping[str, Weights]
) -> None:
    """What vLLM says with an adapter is what Hugging Face's model says with the same weights merged into its own."""
    vllm_engine.set_adapters(sql=folders["sql"], poet=folders["poet"])
    try:
        source = model_folder(vllm_engine.model.source)
        for name in ("sql", "poet"):
            assert _said(vllm_engine, name) == merged_answer(source, weights[name], QUESTION, TOKENS)
    finally:
        vllm_engine.set_adapters()


def test_it_says_what_it_has_loaded(adapted: ServedEngine, folders: Mapping[str, str]) -> None:
    """A third adapter in two slots pushes out the one that was not used for longest; each load is counted and timed."""
    for model in ("sql", "poet"):
        _said(adapted, model)
    before = adapted.view("adapters")
    assert (before["known"], before["held"], before["slots"]) == (["poet", "sql"], ["sql", "poet"], 2)
    assert before["load_s"] > 0
    _said(adapted, "sql")
    assert adapted.view("adapters")["held"] == ["poet", "sql"]
    assert adapted.view("adapters")["loads"] == before["loads"]
    adapted.set_adapters(**folders)
    _said(adapted, "third")
    after = adapted.view("adapters")
    assert after["known"] == ["poet", "sql", "third"]
    assert "third" in after["held"]
    assert len(after["held"]) == 2
    assert after["loads"] == before["loads"] + 1


def test_adapters_are_models_of_the_list(adapted: ServedEngine) -> None:
    """Each is in /v1/models, with its base model as parent; one that was removed is not, and is answered with 404."""
    rows = {row["id"]: row for row in httpx.get(f"{adapted.url}/v1/models").json()["data"]}
    assert set(rows) == {adapted.model.name, "sql", "poet"}
    assert rows[adapted.model.name]["parent"] is None
    assert rows["sql"]["parent"] == adapted.model.name
    adapted.set_adapters()
    assert adapted.view("adapters")["known"] == []
    gone = adapted.post("/v1/chat/completions", {"model": "sql", "messages": [{"role": "user", "content": "Hi"}]})
    assert gone.status_code == 404


async def test_a_stream_outlives_its_adapter(adapted: ServedEngine, client: httpx.AsyncClient) -> None:
    """Removed while it answers, an adapter goes on answering that request, to its end."""
    body: dict[str, Any] = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 40, "ignore_eos": True}
    async with client.stream(
        "POST",
        f"{adapted.url}/v1/chat/completions",
        json={"model": "poet", "stream": True, "temperature": 0, **body},
    ) as response:
        lines = response.aiter_lines()
        await anext(lines)
        removed = await client.post(f"{adapted.url}/contract/set-adapters", json={})
        assert removed.json()["known"] == []
        rest = [line async for line in lines if line.startswith("data: ")]
    assert rest[-1] == "data: [DONE]"
    assert len(rest) > 20


async def test_prefixes_are_an_adapters_own(adapted: ServedEngine, client: httpx.AsyncClient) -> None:
    """A prompt that one adapter has computed is not cached for another, nor for the base model."""
    text = "The quick brown fox jumps over the lazy dog. " * 20
    cached = []
    for model in ("sql", "sql", "poet", adapted.model.name):
        answer = await stream(
            client,
            adapted,
            "/v1/completions",
            model=model,
            prompt=text,
            max_tokens=2,
            stream_options={"include_usage": True},
        )
        cached.append(answer.events[-1]["usage"]["prompt_tokens_details"]["cached_tokens"])
    assert cached[0] == cached[2] == cached[3] == 0
    assert cached[1] > 100


@pytest.mark.vllm
@pytest.mark.timeout(600)
def test_what_cannot_be_loaded_is_told(
    vllm_engine: ServedEngine, folders: Mapping[str, str], weights: Mapping[str, Weights], tmp_path: Path
) -> None:
    """Wrong weights, too high a rank, no adapter: each has its reason, the others serve, and the engine lives."""
    wide = {name: np.tile(each, 2) if "lora_A" in name else each for name, each in weights["sql"].items()}
    wrong = write_adapter(tmp_path / "wrong", wide)  # of a model with twice the width
    high = write_adapter(tmp_path / "high", weights["sql"], rank=64)
    try:
        told = vllm_engine.set_adapters(
            good=folders["sql"], wrong=str(wrong), high=str(high), none=str(tmp_path), gone="/not/there"
        )
        assert told["known"] == ["good"]
        assert set(told["problems"]) == {"wrong", "high", "none", "gone"}
        assert "vLLM cannot load it" in told["problems"]["wrong"]
        assert "rank 64" in told["problems"]["high"]
        assert _said(vllm_engine, "good") == merged_answer(
            model_folder(vllm_engine.model.source), weights["sql"], QUESTION, TOKENS
        )
        assert vllm_engine.view("health") is None
    finally:
        vllm_engine.set_adapters()
