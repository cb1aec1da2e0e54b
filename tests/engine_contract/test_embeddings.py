"""A model that embeds: what both engines promise; a simulated one generates beside it unless told otherwise."""

import base64
import struct
from collections.abc import Iterator

import pytest

from cluster.spec.model_parts.task import Task
from tests.engine_contract.contract_models import SIM, VLLM
from tests.engine_contract.served_engine import ServedEngine

PATH = "/v1/embeddings"
VLLM_ONLY = {"enable_auto_tool_choice", "tool_call_parser"}
MODELS = {
    "sim": SIM.model_copy(update={"task": Task.EMBED, "engine_args": {}}),
    "vllm": VLLM.model_copy(
        update={
            "task": Task.EMBED,
            "engine_args": {key: value for key, value in VLLM.engine_args.items() if key not in VLLM_ONLY},
        }
    ),
}
RIVER = "The river runs to the sea."


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
    """With `task: embed` the other endpoints are not there."""
    body = {"model": "contract-model", "messages": [{"role": "user", "content": "Hi"}]}
    assert embedder.post("/v1/chat/completions", body).status_code == 404


@pytest.mark.parametrize("sides", [("text_1", "text_2"), ("queries", "documents"), ("data_1", "data_2")])
@pytest.mark.parametrize("path", ["/score", "/v1/score"])
def test_texts_are_scored(embedder: ServedEngine, path: str, sides: tuple[str, str]) -> None:
    """One with each of several, by the angle between their vectors: that of a text with itself is 1."""
    answer = embedder.ok(path, **{sides[0]: RIVER, sides[1]: [RIVER, "Prices rise."]})
    same, other = (entry["score"] for entry in answer["data"])
    assert [(entry["index"], entry["object"]) for entry in answer["data"]] == [(0, "score"), (1, "score")]
    assert same == pytest.approx(1, abs=1e-2)
    assert other < same - 1e-3
    assert answer["usage"]["prompt_tokens"] > 6


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_documents_are_ranked(embedder: ServedEngine, path: str) -> None:
    """The one that fits best first, each with its place in the request; `top_n` of them."""
    documents = ["Prices rise.", RIVER, "A dog barks."]
    answer = embedder.ok(path, query=RIVER, documents=documents)
    assert answer["results"][0]["index"] == 1
    assert answer["results"][0]["document"]["text"] == RIVER
    assert sorted(result["index"] for result in answer["results"]) == [0, 1, 2]
    scores = [result["relevance_score"] for result in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert answer["usage"]["total_tokens"] > 6
    best = embedder.ok(path, query=RIVER, documents=documents, top_n=1)["results"]
    assert [result["index"] for result in best] == [1]


def test_plain_vectors(embedder: ServedEngine) -> None:
    """`/pooling` gives what `/v1/embeddings` does, without its form."""
    (entry,) = embedder.ok("/pooling", input=RIVER)["data"]
    assert entry["object"] == "pooling"
    assert entry["data"] == pytest.approx(embedder.ok(PATH, input=RIVER)["data"][0]["embedding"], abs=1e-2)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/score", {"text_1": "a"}),
        ("/score", {"text_1": ["a", "b"], "text_2": ["c", "d", "e"]}),
        ("/rerank", {"query": "a"}),
        ("/rerank", {"query": "a", "documents": ["b"], "top_n": -1}),
    ],
)
def test_a_bad_comparison_is_refused(embedder: ServedEngine, path: str, body: dict[str, object]) -> None:
    """A side is missing, or their numbers do not fit."""
    response = embedder.post(path, {"model": "contract-model", **body})
    assert response.status_code == 400, response.text


@pytest.mark.parametrize(("task", "classes"), [(Task.CLASSIFY, 2), (Task.SCORE, 1)])
def test_a_simulated_model_classifies(tmp_path_factory: pytest.TempPathFactory, task: Task, classes: int) -> None:
    """Shares that add up, the same for the same text; one that scores reads each pair of texts as one prompt."""
    log = tmp_path_factory.mktemp("engine") / "classes.log"
    served = ServedEngine(SIM.model_copy(update={"task": task, "engine_args": {}}), log)
    try:
        served.wait_ready()
        first, again = served.ok("/classify", input=[RIVER, RIVER])["data"]
        assert first["num_classes"] == len(first["probs"]) == classes
        assert first["probs"] == again["probs"]
        assert first["label"] in {"LABEL_0", "LABEL_1"}
        assert classes == 1 or sum(first["probs"]) == pytest.approx(1)
        assert served.ok("/pooling", input=RIVER)["data"][0]["data"] == first["probs"]
        ranked = served.ok("/rerank", query=RIVER, documents=["Prices rise.", RIVER])
        assert [result["index"] for result in ranked["results"]] == [1, 0]
        assert served.post(PATH, {"model": "contract-model", "input": "a"}).status_code == 404
    finally:
        served.close()


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
