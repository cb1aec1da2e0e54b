"""Speculative decoding: the same answers in fewer steps, what the engine tells of it, and no token more or less."""

from collections.abc import Iterator

import httpx
import pytest

from cluster.spec.model_spec import ModelSpec
from tests.engine_contract.contract_models import SIM, VLLM
from tests.engine_contract.cut_copies import check_copy
from tests.engine_contract.served_engine import ServedEngine, stream
from tests.speculation_texts import COPIED, COPY

MODELS = {"sim": SIM, "vllm": VLLM}
DRAFTED = 5
LONG = [pytest.mark.vllm, pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(params=["sim", pytest.param("vllm", marks=LONG)], scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    """The engine's kind; real ones are a start of vLLM more, so they are for `make test-all`."""
    return str(request.param)


@pytest.fixture(scope="module")
def plain(kind: str, request: pytest.FixtureRequest) -> ServedEngine:
    """The session's engine, which drafts nothing."""
    served: ServedEngine = request.getfixturevalue(f"{kind}_engine")
    return served


@pytest.fixture(scope="module")
def drafting(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEngine]:
    """An engine that drafts up to five tokens from n-grams."""
    speculative = {"speculative": {"method": "ngram", "tokens": DRAFTED}}
    model = ModelSpec.model_validate({**MODELS[kind].model_dump(mode="json", exclude_unset=True), **speculative})
    served = ServedEngine(model, tmp_path_factory.mktemp("drafting") / "log")
    try:
        yield served.wait_ready()
    finally:
        served.close()


def test_what_is_copied_is_the_same_in_fewer_steps(kind: str, plain: ServedEngine, drafting: ServedEngine) -> None:
    """Of a text that copies its prompt each token is the one that would have come without drafts; most were drafted."""
    answers = [engine.complete(COPY, max_tokens=128, ignore_eos=True) for engine in (plain, drafting)]
    without, with_drafts = (answer["choices"][0]["text"] for answer in answers)
    assert with_drafts == without
    if kind == "vllm":
        assert COPIED.startswith(with_drafts[:300])
    assert [answer["usage"]["completion_tokens"] for answer in answers] == [128, 128]
    told = drafting.view("stats")["speculation"]
    by_position = told["accepted_by_position"]
    assert 0 < sum(by_position) <= told["draft_tokens"] <= 5 * told["drafts"]
    assert by_position == sorted(by_position, reverse=True)
    assert len(by_position) == 5
    assert sum(by_position) > 128 / 3
    assert plain.view("stats")["speculation"] is None


@pytest.mark.parametrize("sampling", [{"temperature": 0.8, "top_k": 1}, {"temperature": 0.01}, {"top_p": 1e-6}])
def test_what_is_sampled_keeps_to_its_parameters(drafting: ServedEngine, sampling: dict[str, float]) -> None:
    """Parameters that leave one choice give the greedy text, also where tokens are drafted and several are verified."""
    greedy = drafting.complete(COPY, max_tokens=64, ignore_eos=True)["choices"][0]["text"]
    body = {"model": drafting.model.name, "prompt": COPY, "max_tokens": 64, "ignore_eos": True, "temperature": 1.0}
    sampled = drafting.post("/v1/completions", {**body, **sampling}).json()
    assert sampled["choices"][0]["text"] == greedy


def test_what_it_brings_is_measured(drafting: ServedEngine) -> None:
    """After some answers the tokens a step are known, and how many times as fast they come as without drafts."""
    for number in range(4):
        drafting.complete(f"{number} {COPY}", max_tokens=96, ignore_eos=True)
        drafting.complete(f"Once upon a time {number} foxes", max_tokens=48, ignore_eos=True)
    told = drafting.view("stats")["speculation"]
    assert 1 < told["tokens_per_step"] <= 6
    assert 0.5 < told["speedup"] <= told["tokens_per_step"]


def test_metrics_have_vllms_names(drafting: ServedEngine) -> None:
    """`/metrics` carries the counts that dashboards of vLLM are built on."""
    drafting.complete(COPY, max_tokens=32, ignore_eos=True)
    drafts = drafting.metric("vllm:spec_decode_num_drafts_total")
    drafted = drafting.metric("vllm:spec_decode_num_draft_tokens_total")
    accepted = drafting.metric("vllm:spec_decode_num_accepted_tokens_total")
    first = drafting.metric("vllm:spec_decode_num_accepted_tokens_per_pos_total", position="0")
    assert 0 < first <= drafts < drafted
    assert first < accepted <= drafted


@pytest.mark.parametrize("limit", [1, 2, 7, 40])
async def test_a_stream_has_the_tokens_asked_for(
    plain: ServedEngine, drafting: ServedEngine, client: httpx.AsyncClient, limit: int
) -> None:
    """Events hold several tokens, and the last one no more than are left; the usage told with each counts them all."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = {"prompt": COPY, "max_tokens": limit, "ignore_eos": True, "stream_options": options}
    found = await stream(client, drafting, "/v1/completions", **body)
    told = [event["usage"]["completion_tokens"] for event in found.events if event["choices"]]
    assert told == sorted(told)
    assert told[-1] == limit
    assert found.finish_reason() == "length"
    assert found.text() == plain.complete(COPY, max_tokens=limit, ignore_eos=True)["choices"][0]["text"]
    if limit == 40:
        assert len(told) < limit / 2


@pytest.mark.parametrize("cuts", [1, 2, 3])
async def test_a_stream_that_is_cut_has_the_tokens_asked_for(drafting: ServedEngine, cuts: int) -> None:
    """Events hold several tokens: text, end and usage are those of one engine alone, but for what is past a stop."""
    await check_copy(drafting, cuts, events=4, drafted=DRAFTED)
