"""A model that embeds: what both engines promise; a simulated one generates beside it unless told otherwise."""

import base64
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine_contract.contract_models import SIM, VLLM
from tests.engine_contract.served_engine import ServedEngine

PATH = "/v1/embeddings"
POOLING: dict[str, Any] = {"runner": "pooling", "convert": "embed"}
VLLM_ONLY = {"enable_auto_tool_choice", "tool_call_parser"}
MODELS = {
    "sim": SIM.model_copy(update={"engine_args": POOLING}),
    "vllm": VLLM.model_copy(
        update={
            "engine_args": {key: value for key, value in VLLM.engine_args.items() if key not in VLLM_ONLY} | POOLING
        }
    ),
}


@pytest.fixture(
    params=["sim", pytest.param("vllm", marks=[pytest.mark.vllm, pytest.mark.long, pytest.mark.timeout(600)])],
    scope="module",
)
def embedder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEngine]:
    """An engine whose model embeds."""
    served = ServedEngine(MODELS[request.param], tmp_path_factory.mktemp("engine") / "embedder.log")
    try:
        yield served.wait_ready()
    finally:
        served.close()


def test_texts_have_vectors_of_length_1(embedder: ServedEngine) -> None:
    """One for each input, in its order, the same for the same text; usage counts the prompts."""
    texts = ["The river runs to the sea.", "Prices rise.", "The river runs to the sea."]
    answer = embedder.ok(PATH, input=texts)
    assert (answer["object"], answer["model"]) == ("list", "contract-model")
    assert [(entry["index"], entry["object"]) for entry in answer["data"]] == [(n, "embedding") for n in range(3)]
    first, other, again = (entry["embedding"] for entry in answer["data"])
    assert sum(value * value for value in first) == pytest.approx(1, abs=1e-3)
    assert first == pytest.approx(again, abs=1e-3)
    assert first != pytest.approx(other, abs=1e-3)
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] > 6


@pytest.mark.parametrize("given", ["Hi there", [9, 88, 777], [[9, 88, 777]]])
def test_an_input_is_text_or_token_ids(embedder: ServedEngine, given: object) -> None:
    """One input, one vector."""
    assert len(embedder.ok(PATH, input=given)["data"]) == 1


def test_base64_holds_the_same_numbers(embedder: ServedEngine) -> None:
    """As little-endian floats of 4 bytes: what the `openai` SDK asks for."""
    floats = embedder.ok(PATH, input="Hi", encoding_format="float")["data"][0]["embedding"]
    packed = base64.b64decode(embedder.ok(PATH, input="Hi", encoding_format="base64")["data"][0]["embedding"])
    assert list(struct.unpack(f"<{len(packed) // 4}f", packed)) == pytest.approx(floats, abs=1e-4)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "other", "input": "a"}, 404),
        ({"model": "contract-model"}, 400),
        ({"model": "contract-model", "input": "a", "encoding_format": "xml"}, 400),
        ({"model": "contract-model", "input": "a", "dimensions": -1}, 400),
        ({"model": "contract-model", "input": "word " * 9000}, 400),
    ],
)
def test_a_bad_request_is_refused(embedder: ServedEngine, body: dict[str, object], status: int) -> None:
    """In OpenAI's form."""
    response = embedder.post(PATH, body)
    assert (response.status_code, response.json()["error"]["code"]) == (status, status)


def test_a_model_that_pools_does_not_chat(embedder: ServedEngine) -> None:
    """With `runner: pooling` the other endpoints are not there."""
    body = {"model": "contract-model", "messages": [{"role": "user", "content": "Hi"}]}
    assert embedder.post("/v1/chat/completions", body).status_code == 404


def test_a_simulated_model_does_both(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Unless its `engine_args` name a runner, so that one model stands in for two; vectors may be shorter."""
    log = tmp_path_factory.mktemp("engine") / "both.log"
    served = ServedEngine(SIM.model_copy(update={"engine_args": {}}), log)
    try:
        served.wait_ready()
        short = served.ok(PATH, input="Hi there", dimensions=64)["data"][0]["embedding"]
        assert len(short) == 64
        assert sum(value * value for value in short) == pytest.approx(1, abs=1e-3)
        assert served.chat("Hi", max_tokens=1)["choices"]
    finally:
        served.close()
