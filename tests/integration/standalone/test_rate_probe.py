"""A gateway finds plain servers' rates before users' requests come, on real simulated engines of known rates."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import randrange

import httpx
import pytest

from cluster.spec.gateway_spec import GatewaySpec
from cluster.spec.model_parts.sim_spec import SimSpec
from cluster.spec.model_spec import ModelSpec
from deployments.standalone.gateway import StandaloneGateway
from deployments.standalone.server_address import ServerAddress, server_at
from tests.engine_contract.served_engine import ServedEngine
from tests.integration.cluster.command import RACKSERVE, Command
from tests.integration.gateway.scripted_replica import Received, ScriptedReplica
from tests.integration.standalone.plain_server import page, replicas, until
from tests.integration.standalone.scripted_server import requests_to
from tests.machine_speed import slowness

FAST_TOKENS_PER_S = 8000.0
SLOW_TOKENS_PER_S = 2000.0
PAGES = {
    b"/v1/models": b'{"data":[{"id":"m"}]}',
    b"/metrics": b'vllm:num_requests_running{engine="0"} 0.0\n'
    b'vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="4097"} 1.0\n',
}
"""What an idle vLLM says of itself."""


def served(tokens_per_s: float, log: Path, **engine_args: str) -> ServedEngine:
    """Start an engine of that prefill rate, 10 ms a decode step."""
    sim = SimSpec(prefill_tokens_per_s=tokens_per_s, inter_token_s=0.01)
    return ServedEngine(ModelSpec(name="m", source="m", engine="sim", sim=sim, engine_args=engine_args), log)


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServedEngine, ServedEngine]]:
    """A fast engine, and one of a quarter of its rate."""
    folder = tmp_path_factory.mktemp("engines")
    with ExitStack() as stack:
        started = [served(rate, folder / f"{rate}.log") for rate in (FAST_TOKENS_PER_S, SLOW_TOKENS_PER_S)]
        for engine in started:
            stack.callback(engine.close)
        fast, slow = (engine.wait_ready() for engine in started)
        yield fast, slow


def probed(engine: ServedEngine | ScriptedReplica) -> ServerAddress:
    """Return the address of a server that may be probed."""
    url = engine.url if isinstance(engine, ServedEngine) else f"http://127.0.0.1:{engine.port}"
    return replace(server_at(url), rate_probe=True)


@asynccontextmanager
async def gateway_before(*servers: ServerAddress) -> AsyncIterator[StandaloneGateway]:
    """Run a gateway in front of these servers."""
    spec = GatewaySpec(host="127.0.0.1", port=0, admin_port=0)
    gateway = StandaloneGateway(spec, servers, policy="expected_ttft")
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop(0.0)


def tokens_of(engine: ServedEngine) -> tuple[float, float]:
    """Return an engine's prompt tokens up to now, and how many of them it had cached."""
    text = httpx.get(f"{engine.url}/metrics", trust_env=False).text
    counts = dict(re.findall(r"^vllm:(prompt_tokens|prefix_cache_hits)_total\{.*\} (\S+)$", text, re.MULTILINE))
    return float(counts["prompt_tokens"]), float(counts["prefix_cache_hits"])


async def probes(gateway: StandaloneGateway) -> Mapping[str, int]:
    """Return the probes in the metrics, by result."""
    text = (await page(gateway, "/metrics", admin=True))[1].decode()
    counts = re.findall(r'^rackserve_rate_probes_total\{result="(\w+)"\} (\d+)', text, re.MULTILINE)
    return {result: int(count) for result, count in counts}


async def test_rates_are_known_before_the_first_request(engines: tuple[ServedEngine, ServedEngine]) -> None:
    """Within a fifth of the truth as soon as the gateway listens, for less than a second of each engine's time."""
    before = [tokens_of(engine) for engine in engines]
    async with gateway_before(*map(probed, engines)) as gateway:
        for engine, truth in zip(engines, (FAST_TOKENS_PER_S, SLOW_TOKENS_PER_S), strict=True):
            found = gateway.found_rates(server_at(engine.url).name)
            assert found is not None
            assert found.prefill_tokens_per_s == pytest.approx(truth, rel=0.2 * slowness())
            assert found.overhead_s < 0.02 * slowness()
            assert found.decode_tokens_per_s == pytest.approx(100.0, rel=0.3 * slowness())
        counts = await probes(gateway)
        assert counts["answered"] >= 8
        assert counts["refused"] == counts["failed"] == counts["yielded"] == 0
        text = (await page(gateway, "/metrics", admin=True))[1].decode()
        assert not re.search(r"^rackserve_(requests|tokens)_total\{", text, re.MULTILINE), "nobody's usage"
    for engine, rate, earlier in zip(engines, (FAST_TOKENS_PER_S, SLOW_TOKENS_PER_S), before, strict=True):
        prefilled, cached = tokens_of(engine)
        assert 0 < (prefilled - earlier[0]) / rate < 1.0
        assert cached == earlier[1], "no probe finds another's prompt"


async def first_burst(*servers: ServerAddress) -> list[int]:
    """Send twenty different prompts of 1 000 tokens at once to a new gateway; return how many each server got."""
    async with gateway_before(*servers) as gateway, httpx.AsyncClient(trust_env=False) as client:
        body = {"model": "m", "max_tokens": 1, "stream": True}
        url = f"http://127.0.0.1:{gateway.gateway.port}/v1/completions"
        asked = [client.post(url, json=body | {"prompt": f"{randrange(10**6)} " * 600}, timeout=60) for _ in range(20)]
        assert [answer.status_code for answer in await asyncio.gather(*asked)] == [200] * 20
        rows = await replicas(gateway, "m")
        return [rows[server.name]["sent"] for server in servers]


async def test_the_first_burst_is_split_by_the_engines_rates(engines: tuple[ServedEngine, ServedEngine]) -> None:
    """The engine of four times the rate gets about four times as many; without probes each gets about half.

    The sum of times to first token is least with 16 and 4, and 4 % more with 18 and 2, which spares later requests.
    """
    fast, slow = map(probed, engines)
    to_fast, to_slow = await first_burst(fast, slow)
    assert 15 <= to_fast <= 18, (to_fast, to_slow)
    unknown = [replace(server, rate_probe=False) for server in (fast, slow)]
    to_fast, to_slow = await first_burst(*unknown)
    assert 8 <= to_fast <= 12, (to_fast, to_slow)


async def test_a_server_that_joins_is_probed_and_one_that_may_not_be_is_not(
    engines: tuple[ServedEngine, ServedEngine],
) -> None:
    """Servers are probed when they come, each by its own setting."""
    fast, slow = engines
    async with gateway_before(server_at(fast.url)) as gateway:
        assert not any((await probes(gateway)).values())
        gateway.set_servers([server_at(fast.url), probed(slow)])

        async def is_found() -> bool:
            return gateway.found_rates(server_at(slow.url).name) is not None

        await until(is_found)
        assert gateway.found_rates(server_at(fast.url).name) is None


async def test_the_option_turns_probes_off(engines: tuple[ServedEngine, ServedEngine]) -> None:
    """By default the command probes; with `--no-rate-probe` the engine has nothing to do."""
    for options, is_probed in (((), True), (("--no-rate-probe",), False)):
        before = tokens_of(engines[0])
        listen = ("--host", "127.0.0.1", "--port", "0", "--admin-port", "0")
        with Command(RACKSERVE, "gateway", *listen, "--replica", engines[0].url, *options) as command:
            await asyncio.to_thread(command.wait_for_line, "READY ")
        assert (tokens_of(engines[0]) > before) is is_probed


def page_at(request: Received) -> bytes | None:
    """Return an idle vLLM's page; None: it is not asked for one."""
    method, path, _ = request.head.split(b" ", 2)
    return PAGES.get(path) if method == b"GET" else None


def is_probe(request: Received) -> bool:
    """Tell whether a request is the gateway's own."""
    return (request.header("x-request-id") or "").startswith("probe-")


def written(status: int, body: bytes) -> bytes:
    """Return a whole answer."""
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)


@pytest.mark.parametrize("status", [400, 401, 404, 500, 503])
async def test_a_server_that_refuses_probes_works_as_before(status: int) -> None:
    """Errors of probes count for nothing, and the server is left in peace after a few."""

    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        page_asked = page_at(request)
        writer.write(written(status if is_probe(request) else 200, page_asked or b"{}"))

    async with ScriptedReplica(answer) as server, gateway_before(probed(server)) as gateway:
        assert 1 <= len(requests_to(server)) <= 2
        assert (await probes(gateway))["refused"] == len(requests_to(server))
        row = (await replicas(gateway, "m"))[probed(server).name]
        assert (row["errors_in_a_row"], row["standing"], row["busy_s"], row["sent"]) == (0, "up", 0.0, 0)
        async with httpx.AsyncClient(trust_env=False) as client:
            url = f"http://127.0.0.1:{gateway.gateway.port}/v1/chat/completions"
            assert (await client.post(url, json={"model": "m", "messages": []})).status_code == 200


async def test_a_model_that_only_embeds_is_not_waited_for(tmp_path: Path) -> None:
    """It knows no completions and no chats, so two refusals are all it is asked."""
    engine = served(FAST_TOKENS_PER_S, tmp_path / "log", runner="pooling")
    try:
        async with gateway_before(probed(engine.wait_ready())) as gateway:
            assert await probes(gateway) == {"answered": 0, "refused": 2, "failed": 0, "yielded": 0}
    finally:
        engine.close()


async def test_a_probe_ends_when_a_users_request_comes() -> None:
    """Its connection is closed within milliseconds, long before it would be answered, and the user is served."""
    probe_began = asyncio.Event()

    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        if is_probe(request):
            probe_began.set()
        else:
            writer.write(written(200, page_at(request) or b"{}"))

    async with (
        ScriptedReplica(answer) as server,
        gateway_before(replace(probed(server), rate_probe=False)) as gateway,
    ):
        gateway.set_servers([probed(server)])
        async with asyncio.timeout(20):
            await probe_began.wait()
        server.one_closed.clear()
        async with httpx.AsyncClient(trust_env=False) as client:
            url = f"http://127.0.0.1:{gateway.gateway.port}/v1/chat/completions"
            assert (await client.post(url, json={"model": "m", "messages": []})).status_code == 200
        async with asyncio.timeout(0.5 * slowness()):
            await server.one_closed.wait()
        assert (await probes(gateway))["yielded"] == 1


@pytest.mark.parametrize("metrics", [PAGES[b"/metrics"].replace(b" 0.0", b" 3.0"), b"python_info 1.0", b""])
async def test_a_server_that_is_not_known_to_be_an_idle_engine_is_left_alone(metrics: bytes) -> None:
    """Where others' requests run, and where nobody knows whether they do and what a prompt costs, nothing is sent."""

    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        page_asked = metrics if request.head.startswith(b"GET /metrics") else page_at(request)
        writer.write(written(200, page_asked or b"{}"))

    async with ScriptedReplica(answer) as server, gateway_before(probed(server)):
        assert not requests_to(server)


async def test_the_servers_page_shows_what_was_found(engines: tuple[ServedEngine, ServedEngine]) -> None:
    """`/servers` has each server's rates, for operators."""
    with Command(
        RACKSERVE, "gateway", "--host", "127.0.0.1", "--port", "0", "--admin-port", "0", "--replica", engines[0].url
    ) as command:
        await asyncio.to_thread(command.wait_for_line, "admin: ")
        admin = re.search(r"admin: (http://\S+)", command.output)
        assert admin is not None
        async with httpx.AsyncClient(trust_env=False) as client:
            (row,) = json.loads((await client.get(f"{admin[1]}/servers")).content)["servers"]
        assert row["rates"]["prefill_tokens_per_s"] == pytest.approx(FAST_TOKENS_PER_S, rel=0.2 * slowness())
