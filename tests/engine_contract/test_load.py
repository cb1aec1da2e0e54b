"""What a replica reports of its engine, and what happens when clients leave."""

import asyncio

import httpx
import pytest

from deployments.standalone.server_metrics import kv_tokens_of
from tests.engine_contract.contract_models import LONG_ANSWER, MAX_TOKENS
from tests.engine_contract.served_engine import ServedEngine, events_of


async def test_stats_follow_a_request(engine: ServedEngine, client: httpx.AsyncClient) -> None:
    """Running and KV use while a request runs, nothing after it; capacity and rates are those of the engine."""
    body = {"model": "contract-model", "prompt": "word " * 300, "max_tokens": 24, "ignore_eos": True, "stream": True}
    async with client.stream("POST", f"{engine.url}/v1/completions", json=body) as response:
        events = events_of(response.aiter_lines())
        await anext(events)
        await anext(events)
        during = (await client.get(f"{engine.url}/contract/stats")).json()
        rest = [event async for event in events]
    assert rest[-1] is None
    assert (during["running"], during["waiting"], during["waiting_tokens"]) == (1, 0, 0)
    assert 0 < during["kv_usage"] < 1
    assert during["kv_capacity_tokens"] == MAX_TOKENS
    assert during["step_tokens"] >= 2048
    after = engine.wait_stats(lambda stats: stats["running"] == 0, within_s=1)
    assert (after["waiting"], after["waiting_tokens"], after["kv_usage"]) == (0, 0, 0)
    assert 1 < after["prefill_tokens_per_s"] < 100_000
    assert 1 < after["decode_tokens_per_s"] < 10_000


async def test_prompts_that_do_not_fit_wait(engine: ServedEngine, client: httpx.AsyncClient) -> None:
    """More prompt than the KV cache holds: some requests wait, the tokens they wait with are told, all are served."""
    prompts = [f"{number} " + "word " * 500 for number in range(4)]
    bodies = [{"model": "contract-model", "prompt": prompt, "max_tokens": 20, "ignore_eos": True} for prompt in prompts]
    requests = [asyncio.ensure_future(client.post(f"{engine.url}/v1/completions", json=body)) for body in bodies]
    most_waiting = most_tokens = 0
    while not all(request.done() for request in requests):
        stats = (await client.get(f"{engine.url}/contract/stats")).json()
        most_waiting = max(most_waiting, stats["waiting"])
        most_tokens = max(most_tokens, stats["waiting_tokens"])
        await asyncio.sleep(0.05)  # asking takes CPU time from the engine
    assert [request.result().status_code for request in requests] == [200] * 4
    assert most_waiting >= 1
    assert most_tokens >= 500


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_client_that_leaves_ends_its_request(
    engine: ServedEngine, client: httpx.AsyncClient, *, streamed: bool
) -> None:
    """Within a second of the client's leaving the engine runs nothing, whether the answer was streamed or not."""
    body = {
        "model": "contract-model",
        "prompt": "Once",
        "max_tokens": LONG_ANSWER,
        "ignore_eos": True,
        "stream": streamed,
    }
    if streamed:
        async with client.stream("POST", f"{engine.url}/v1/completions", json=body) as response:
            await anext(events_of(response.aiter_lines()))
            engine.wait_stats(lambda stats: stats["running"] == 1, within_s=5)
    else:
        request = asyncio.ensure_future(client.post(f"{engine.url}/v1/completions", json=body))
        await asyncio.to_thread(engine.wait_stats, lambda stats: stats["running"] == 1, within_s=5)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
    engine.wait_stats(lambda stats: stats["running"] == 0 and stats["waiting"] == 0, within_s=1)


def test_metrics_are_prometheus_text(engine: ServedEngine) -> None:
    """`/metrics` carries vLLM's names for the numbers dashboards are built on."""
    engine.chat("Hi", max_tokens=1)
    text = httpx.get(f"{engine.url}/metrics", follow_redirects=True).text
    samples = {line.split("{")[0] for line in text.splitlines() if not line.startswith("#")}
    assert {
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
        "vllm:prompt_tokens_total",
        "vllm:generation_tokens_total",
        "vllm:prefix_cache_hits_total",
        "vllm:request_success_total",
    } <= samples
    assert kv_tokens_of(text) == MAX_TOKENS
