"""Prompts computed by one engine, and answered by another that fetches their KV blocks."""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.spec.model_spec import ModelSpec
from cluster.spec.role import Role
from router.replicas.kv_transfer import KvTransfer
from tests.engine_contract.contract_models import LONG_ANSWER, MAX_TOKENS, SIM, VLLM
from tests.engine_contract.served_engine import NEEDS_NIXL, ServedEngine, events_of
from tests.engine_contract.test_kv_events import BLOCK, events_after, prompt_ids
from tests.engine_contract.test_residency import settled_claims
from tests.machine_speed import slowness

LEASE_S = 6
"""Seconds that a prompt is kept in this test: long enough for a busy machine to fetch it, short enough to wait for."""
COMPUTE = {"do_remote_decode": True, "do_remote_prefill": False}
MESSAGES = [{"role": "user", "content": "Name three rivers of Europe, and the seas that they flow into. " * 6}]
CHAT: dict[str, Any] = {"messages": MESSAGES, "max_tokens": 16}
REQUESTS = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"prompt": "The longest rivers of Europe flow into these seas: " * 8, "max_tokens": 16},
    "/v1/responses": {"input": MESSAGES[0]["content"], "max_output_tokens": 16, "store": False},
    "/v1/messages": CHAT,
}
LIMITS = ("max_tokens", "max_output_tokens")


@dataclass(frozen=True)
class Pair:
    """An engine that computes prompts, and one that answers.

    Attributes:
        prefill: the first.
        decode: the second.
    """

    prefill: ServedEngine
    decode: ServedEngine

    def computed(self, path: str, **body: object) -> dict[str, Any]:
        """Have a prompt computed and kept; return how to fetch it."""
        limits = {name: 1 for name in LIMITS if name in body}
        answer = self.prefill.ok(path, **{**body, **limits, "kv_transfer_params": COMPUTE})
        params: dict[str, Any] = answer["kv_transfer_params"]
        return params

    def fetched_tokens(self) -> float:
        """Return how many prompt tokens the second has got from the first so far."""
        return self.decode.metric("vllm:prompt_tokens_by_source_total", source="external_kv_transfer")

    def wait_nothing_held(self, within_s: float = 5) -> None:
        """Return once no blocks are in use on either side; fail after a while."""
        for engine in (self.prefill, self.decode):
            engine.wait_stats(
                lambda stats: stats["running"] == stats["waiting"] == 0 and stats["kv_usage"] == 0, within_s
            )


def _served(model: ModelSpec, folder: Path) -> Iterator[Pair]:
    engines = [ServedEngine(model, folder / f"{role}.log", role) for role in (Role.PREFILL, Role.DECODE)]
    try:
        yield Pair(*(engine.wait_ready() for engine in engines))
    finally:
        for engine in engines:
            engine.close()


def _sim_model(**settings: object) -> ModelSpec:
    sim = SIM.sim.model_copy(update={"transfer_lease_s": LEASE_S, **settings})
    return SIM.model_copy(update={"sim": sim})


def _vllm_model() -> ModelSpec:
    connector = {"kv_connector_extra_config": {"kv_lease_duration": LEASE_S}}
    return VLLM.model_copy(update={"engine_args": {**VLLM.engine_args, "kv_transfer_config": connector}})


VLLM_MARKS = [
    pytest.mark.vllm,
    pytest.mark.long,
    pytest.mark.timeout(1200),
    NEEDS_NIXL,
]


@pytest.fixture(params=["sim", pytest.param("vllm", marks=VLLM_MARKS)], scope="module")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two engines of a kind."""
    model = _sim_model() if request.param == "sim" else _vllm_model()
    yield from _served(model, tmp_path_factory.mktemp("pair"))


@pytest.fixture
def idle_pair(pair: Pair) -> Pair:
    """The same, once the leases of the tests before are over."""
    pair.wait_nothing_held(3 * LEASE_S)
    return pair


@pytest.fixture
def slow_pair(tmp_path: Path) -> Iterator[Pair]:
    """Two simulated engines between which a token takes 10 ms."""
    yield from _served(_sim_model(kv_bytes_per_token=1_000, transfer_bytes_per_s=100_000), tmp_path)


def _text(path: str, answer: dict[str, Any]) -> str:
    match path:
        case "/v1/chat/completions":
            return str(answer["choices"][0]["message"]["content"])
        case "/v1/completions":
            return str(answer["choices"][0]["text"])
        case "/v1/responses":
            return str(answer["output"][0]["content"][0]["text"])
        case _:
            return str(answer["content"][0]["text"])


def test_engines_say_what_they_pass_on(pair: Pair) -> None:
    """The one sends, the other receives, and by what they say of their blocks they fit."""
    sender, receiver = (KvTransfer(**engine.view("transfer")) for engine in (pair.prefill, pair.decode))
    assert (sender.sends, sender.receives) == (True, False)
    assert (receiver.sends, receiver.receives) == (False, True)
    assert sender.why_not_to(receiver) == ""
    assert (sender.block_tokens, sender.lease_s) == (BLOCK, LEASE_S)
    assert sender.bytes_per_token > 1000


def test_engines_keep_their_cores(pair: Pair) -> None:
    """Passing blocks on binds no thread to a core: vLLM's connector alone would run all engines on one."""
    for engine in (pair.prefill, pair.decode):
        for process in (engine.process.pid, *engine.view("children")):
            for thread in Path(f"/proc/{process}/task").iterdir():
                with suppress(ProcessLookupError):  # it has ended
                    assert os.sched_getaffinity(int(thread.name)) == os.sched_getaffinity(0)


@pytest.mark.parametrize("path", REQUESTS)
def test_a_fetched_prompt_gets_the_same_answer(idle_pair: Pair, path: str) -> None:
    """By each API, the text is that of an engine which computes the prompt itself; usage and metrics show the way."""
    body = {**REQUESTS[path], "cache_salt": "fetched by " + path.rpartition("/")[2]}
    plain = idle_pair.decode.ok(path, **{**body, "cache_salt": "computed by " + path.rpartition("/")[2]})
    before = idle_pair.fetched_tokens()
    params = idle_pair.computed(path, **body)
    assert params["do_remote_prefill"]
    assert not params["do_remote_decode"]
    assert params["remote_num_tokens"] > 2 * BLOCK
    answer = idle_pair.decode.ok(path, **body, kv_transfer_params=params)
    assert _text(path, answer) == _text(path, plain)
    assert answer.get("kv_transfer_params") is None
    assert idle_pair.fetched_tokens() == before + params["remote_num_tokens"]
    usage = answer["usage"]
    assert usage.get("prompt_tokens", usage.get("input_tokens")) == plain["usage"].get(
        "prompt_tokens", params["remote_num_tokens"]
    )
    idle_pair.wait_nothing_held()


def test_usage_tells_what_the_first_engine_had_cached(pair: Pair) -> None:
    """Of a prompt seen before, the answer's `cached_tokens` are the first engine's hits; nothing was created here."""
    prompt = prompt_ids(50, 3 * BLOCK + 5)
    pair.prefill.complete(prompt, max_tokens=1)
    params = pair.computed("/v1/completions", prompt=prompt, max_tokens=1)
    details = pair.decode.complete(prompt, max_tokens=2, kv_transfer_params=params)["usage"]["prompt_tokens_details"]
    assert details["cached_tokens"] == 3 * BLOCK
    assert not details["created_cache_tokens"], "vLLM does not tell it of completions, but it is never more"


def test_blocks_are_told_on_both_sides(pair: Pair) -> None:
    """The first engine's cache has the prompt's full blocks, then the second's too, and they find them again."""
    prompt = prompt_ids(51, 3 * BLOCK + 5)
    for engine in (pair.prefill, pair.decode):
        engine.view("events")
    params = pair.computed("/v1/completions", prompt=prompt, max_tokens=1)
    pair.decode.complete(prompt, max_tokens=2, kv_transfer_params=params)
    for engine in (pair.prefill, pair.decode):
        events = events_after(engine, wanted=1)
        assert events[0][0] == "PromptSeen"
        stored = [fields for name, fields in events if name == "BlockStored"]
        assert [token for fields in stored for token in fields["token_ids"]] == prompt[: 3 * BLOCK]
    before = pair.fetched_tokens()
    again = pair.decode.complete(prompt, max_tokens=1)
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] == 3 * BLOCK
    assert pair.fetched_tokens() == before


def test_both_replicas_claim_the_prompt(idle_pair: Pair) -> None:
    """What a replica claims to gateways covers a chat that it fetched as well as one that it computed."""
    body = {**CHAT, "cache_salt": "claimed"}
    params = idle_pair.computed("/v1/chat/completions", **body)
    idle_pair.decode.ok("/v1/chat/completions", **body, kv_transfer_params=params)
    for engine in (idle_pair.prefill, idle_pair.decode):
        assert params["remote_num_tokens"] - settled_claims(engine, "/v1/chat/completions", body) <= BLOCK


def test_only_what_is_missing_is_fetched(idle_pair: Pair) -> None:
    """A second engine with the prompt's beginning in its own cache fetches the rest."""
    prompt = prompt_ids(52, 4 * BLOCK + 7)
    idle_pair.decode.complete(prompt[: 2 * BLOCK + 1], max_tokens=1)
    before = idle_pair.fetched_tokens()
    params = idle_pair.computed("/v1/completions", prompt=prompt, max_tokens=1)
    idle_pair.decode.complete(prompt, max_tokens=2, kv_transfer_params=params)
    assert idle_pair.fetched_tokens() == before + 2 * BLOCK + 7
    idle_pair.wait_nothing_held()


async def test_a_stream_begins_on_a_fetched_prompt(pair: Pair, client: httpx.AsyncClient) -> None:
    """The answer to a fetched prompt is streamed like any other."""
    body = {**CHAT, "cache_salt": "streamed", "model": pair.decode.model.name, "temperature": 0}
    params = await asyncio.to_thread(lambda: pair.computed("/v1/chat/completions", **CHAT, cache_salt="streamed"))
    sent = {**body, "stream": True, "kv_transfer_params": params}
    async with client.stream("POST", f"{pair.decode.url}/v1/chat/completions", json=sent) as response:
        events = [event async for event in events_of(response.aiter_lines())]
    said = "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event)
    plain = pair.decode.chat(MESSAGES[0]["content"], max_tokens=16, cache_salt="not streamed")
    assert said == plain["choices"][0]["message"]["content"]
    assert events[-1] is None


def test_unfetched_prompts_are_kept_for_the_lease(idle_pair: Pair) -> None:
    """Until the lease ends their blocks are in use; then they are free, and the metrics count it."""
    expired = idle_pair.prefill.metric("vllm:nixl_num_kv_expired_reqs_total")
    params = idle_pair.computed("/v1/completions", prompt=prompt_ids(53, 3 * BLOCK), max_tokens=1)
    began_s = time.monotonic()
    kept = idle_pair.prefill.wait_stats(lambda stats: stats["kv_usage"] > 0, within_s=2)
    assert kept["running"] == kept["waiting"] == 0
    assert kept["kv_usage"] >= 3 / (MAX_TOKENS / BLOCK + 1)
    idle_pair.prefill.wait_stats(lambda stats: stats["kv_usage"] == 0, within_s=3 * LEASE_S)
    assert time.monotonic() - began_s > LEASE_S / 2
    assert idle_pair.prefill.metric("vllm:nixl_num_kv_expired_reqs_total") == expired + 1
    assert params["remote_num_tokens"] == 3 * BLOCK


WRONG: dict[str, dict[str, Any]] = {
    "no blocks": {"remote_block_ids": []},
    "no groups of blocks": {"remote_block_ids": [[]]},
    "no engine": {"remote_engine_id": None},
    "no request": {"remote_request_id": None},
    "no host": {"remote_host": None},
    "a word for a port": {"remote_port": "side"},
    "another prompt's length": {"remote_num_tokens": 7},
    "an engine that is gone": {"remote_port": 9, "remote_engine_id": "gone"},
    "an engine that was there before": {"remote_engine_id": "00000000-0000-0000-0000-000000000000"},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_prompt_that_cannot_be_fetched_is_computed(pair: Pair, wrong: str) -> None:
    """Whatever is wrong with the parameters, the request gets its answer, and so does the next one."""
    body = {**REQUESTS["/v1/completions"], "cache_salt": wrong}
    plain = pair.decode.ok("/v1/completions", **{**body, "cache_salt": f"not {wrong}"})
    before = pair.fetched_tokens()
    params = pair.computed("/v1/completions", **body) | WRONG[wrong]
    answer = pair.decode.ok("/v1/completions", **body, kv_transfer_params=params)
    assert answer["choices"][0]["text"] == plain["choices"][0]["text"]
    if pair.decode.model.engine == "sim":  # vLLM counts what it meant to fetch
        assert pair.fetched_tokens() == before
    assert pair.decode.complete("And then", max_tokens=1)["usage"]["completion_tokens"] == 1


def test_parameters_for_both_ways_only_compute(pair: Pair) -> None:
    """A request to compute a prompt which names blocks elsewhere, too, is computed and kept: vLLM alone would hang."""
    prompt = prompt_ids(54, 2 * BLOCK + 3)
    named = pair.computed("/v1/completions", prompt=prompt_ids(55, 2 * BLOCK), max_tokens=1)
    both = {**named, "do_remote_prefill": False, "do_remote_decode": True}
    answer = pair.prefill.complete(prompt, max_tokens=1, kv_transfer_params=both)
    assert answer["kv_transfer_params"]["remote_num_tokens"] == len(prompt)
    assert answer["kv_transfer_params"]["remote_request_id"] != named["remote_request_id"]


async def test_a_client_that_leaves_while_its_prompt_is_computed_frees_it(
    idle_pair: Pair, client: httpx.AsyncClient
) -> None:
    """Nothing is kept of a prompt whose client has left before the answer."""
    body = {"model": "contract-model", "prompt": prompt_ids(56, 600), "max_tokens": LONG_ANSWER - 600}
    sent = {**body, "ignore_eos": True, "kv_transfer_params": COMPUTE}
    request = asyncio.ensure_future(client.post(f"{idle_pair.prefill.url}/v1/completions", json=sent))
    await asyncio.to_thread(idle_pair.prefill.wait_stats, lambda stats: stats["running"] == 1, within_s=10)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await asyncio.to_thread(idle_pair.wait_nothing_held, LEASE_S / 3)


async def test_a_client_that_leaves_after_the_fetch_frees_both(idle_pair: Pair, client: httpx.AsyncClient) -> None:
    """A stream on a fetched prompt that its client leaves holds nothing on either side."""
    prompt = prompt_ids(57, 200)
    params = await asyncio.to_thread(lambda: idle_pair.computed("/v1/completions", prompt=prompt, max_tokens=1))
    sent = {"model": "contract-model", "prompt": prompt, "max_tokens": 1000, "ignore_eos": True, "stream": True}
    url = f"{idle_pair.decode.url}/v1/completions"
    async with client.stream("POST", url, json={**sent, "kv_transfer_params": params}) as response:
        await anext(events_of(response.aiter_lines()))
    await asyncio.to_thread(idle_pair.wait_nothing_held, LEASE_S / 3)


def test_a_refused_request_frees_its_prompt(idle_pair: Pair) -> None:
    """If the second engine refuses the request, the first need not wait for the lease to end."""
    expired = idle_pair.prefill.metric("vllm:nixl_num_kv_expired_reqs_total")
    params = idle_pair.computed("/v1/completions", prompt=prompt_ids(58, 200), max_tokens=1)
    body = {"model": "contract-model", "prompt": prompt_ids(58, 200), "max_tokens": MAX_TOKENS + 1}
    refused = idle_pair.decode.post("/v1/completions", {**body, "kv_transfer_params": params})
    assert refused.status_code == 400
    idle_pair.wait_nothing_held(LEASE_S * 0.6)
    assert idle_pair.prefill.metric("vllm:nixl_num_kv_expired_reqs_total") == expired


def test_a_transfer_takes_bytes_over_bandwidth(slow_pair: Pair) -> None:
    """The simulated engine lets the time pass that the blocks would take, and tells it as vLLM does."""
    prompt = prompt_ids(60, 40)
    params = slow_pair.computed("/v1/completions", prompt=prompt, max_tokens=1)
    began_s = time.monotonic()
    slow_pair.decode.complete(prompt, max_tokens=1, kv_transfer_params=params)
    assert 0.64 <= time.monotonic() - began_s < 0.64 + 2 * slowness()
    assert slow_pair.decode.metric("vllm:nixl_bytes_transferred_sum") == 64_000
    assert slow_pair.decode.metric("vllm:nixl_xfer_time_seconds_sum") == pytest.approx(0.64)
    assert slow_pair.decode.metric("vllm:nixl_xfer_time_seconds_bucket", le="0.5") == 0
    assert slow_pair.decode.metric("vllm:nixl_xfer_time_seconds_bucket", le="0.75") == 1


async def test_a_client_that_leaves_during_the_fetch_frees_both(slow_pair: Pair, client: httpx.AsyncClient) -> None:
    """Before its prompt has come, too; the first engine's gauge of kept blocks says so."""
    prompt = prompt_ids(61, 640)
    params = await asyncio.to_thread(lambda: slow_pair.computed("/v1/completions", prompt=prompt, max_tokens=1))
    assert slow_pair.prefill.metric("sim:kept_blocks") >= 20
    sent = {"model": "contract-model", "prompt": prompt, "max_tokens": 5, "kv_transfer_params": params}
    request = asyncio.ensure_future(client.post(f"{slow_pair.decode.url}/v1/completions", json=sent))
    while not slow_pair.decode.metric("vllm:num_requests_kv_fetch_by_stage", stage="in_progress"):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await asyncio.to_thread(slow_pair.wait_nothing_held, 3)
    assert slow_pair.prefill.metric("sim:kept_blocks") == slow_pair.prefill.metric("sim:kept_requests") == 0


async def test_heartbeats_renew_the_lease(slow_pair: Pair, client: httpx.AsyncClient) -> None:
    """A prompt that takes longer to come than its lease lasts is kept all the while."""
    prompt = prompt_ids(62, 25 * BLOCK)
    params = await asyncio.to_thread(lambda: slow_pair.computed("/v1/completions", prompt=prompt, max_tokens=1))
    sent = {"model": "contract-model", "prompt": prompt, "max_tokens": 2, "kv_transfer_params": params}
    answer = await client.post(f"{slow_pair.decode.url}/v1/completions", json=sent)
    assert answer.status_code == 200
    assert slow_pair.fetched_tokens() == 25 * BLOCK
    assert slow_pair.prefill.metric("vllm:nixl_num_kv_expired_reqs_total") == 0
    await asyncio.to_thread(slow_pair.wait_nothing_held, 3)


async def test_the_first_engine_may_die_during_the_fetch(slow_pair: Pair, client: httpx.AsyncClient) -> None:
    """The second then computes the prompt itself, and counts the failure."""
    prompt = prompt_ids(63, 120)
    params = await asyncio.to_thread(lambda: slow_pair.computed("/v1/completions", prompt=prompt, max_tokens=1))
    sent = {"model": "contract-model", "prompt": prompt, "max_tokens": 5, "kv_transfer_params": params}
    request = asyncio.ensure_future(client.post(f"{slow_pair.decode.url}/v1/completions", json=sent))
    while not slow_pair.decode.metric("vllm:num_requests_kv_fetch_by_stage", stage="in_progress"):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    slow_pair.prefill.process.kill()
    assert (await request).json()["usage"]["completion_tokens"] == 5
    assert slow_pair.decode.metric("vllm:nixl_num_failed_transfers_total") == 1
    assert slow_pair.fetched_tokens() == 0
