"""`rackserve gateway`: in front of any OpenAI-compatible servers, without Ray."""

import asyncio
import json
import signal
import sys
from hashlib import sha256
from pathlib import Path
from typing import Self

import httpx
import pytest
import yaml

from cluster.errors import ClusterError
from deployments.standalone.server_address import server_at
from tests.integration.cluster.command import RACKSERVE, Command, run
from tests.integration.cluster.running_application import eventually


class OpenAiServer:
    """A small OpenAI-compatible server that can stop and start again on its port."""

    def __init__(self, *models: str, key: str = "", kv_blocks: int = 0) -> None:
        self.port = 0
        self._models = models
        self._key = key
        self._kv_blocks = kv_blocks
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Die: refuse connections and break those that are open."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Stop."""
        await self.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            writer.transport.abort()
        finally:
            self._tasks.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        await reader.readexactly(sum(lengths))
        body: object = {"answered_by": self.port}
        if b"GET /v1/models" in head:
            body = {"object": "list", "data": [{"id": name} for name in self._models]}
        is_allowed = not self._key or f"Bearer {self._key}\r\n".encode() in head
        data = json.dumps(body).encode()
        if b"GET /metrics" in head and self._kv_blocks:
            data = b'vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="%d"} 1.0\n' % self._kv_blocks
        writer.write(b"HTTP/1.1 %s\r\n" % (b"200 OK" if is_allowed else b"401 Unauthorized"))
        writer.write(b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(data), data))


def start(*servers: OpenAiServer, **options: str) -> Command:
    """Start a gateway in front of these servers."""
    replicas = [part for server in servers for part in ("--replica", f"http://127.0.0.1:{server.port}")]
    more = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    return Command(RACKSERVE, "gateway", "--host", "127.0.0.1", "--port", "0", "--admin-port", "0", *replicas, *more)


async def url_of(command: Command) -> str:
    """Return where the gateway listens."""
    return (await asyncio.to_thread(command.wait_for_line, "READY ")).removeprefix("READY ")


async def stopped(command: Command) -> int:
    """Stop the gateway; returns its exit code."""
    command.send(signal.SIGTERM)
    return await asyncio.to_thread(command.wait)


async def ask(client: httpx.AsyncClient, url: str, model: str) -> httpx.Response:
    """Ask a model once."""
    return await client.post(f"{url}/v1/chat/completions", json={"model": model, "messages": []})


async def test_models_are_found_by_asking_the_servers() -> None:
    """Each server tells its models; requests go to the servers that have the model, in turn."""
    async with httpx.AsyncClient() as client, OpenAiServer("a", "org/b") as first, OpenAiServer("a") as second:
        with start(first, second, policy="round_robin") as command:
            url = await url_of(command)
            listed = (await client.get(f"{url}/v1/models")).json()["data"]
            assert sorted(model["id"] for model in listed) == ["a", "org/b"]
            answered = [(await ask(client, url, "a")).json()["answered_by"] for _ in range(10)]
            assert sorted(answered) == sorted([first.port] * 5 + [second.port] * 5)
            assert (await ask(client, url, "org/b")).json() == {"answered_by": first.port}
            assert (await ask(client, url, "c")).json()["error"]["code"] == "model_not_found"
            assert await stopped(command) == 0


async def test_a_server_that_dies_is_left_out_and_one_that_returns_is_used_again() -> None:
    """Nothing but the servers' own answers decides: no request fails while one of them is away, and it comes back."""
    async with httpx.AsyncClient() as client, OpenAiServer("a") as stays, OpenAiServer("a") as goes:
        with start(stays, goes, policy="round_robin") as command:
            url = await url_of(command)
            await goes.stop()
            for _ in range(10):
                assert (await ask(client, url, "a")).json() == {"answered_by": stays.port}
            await stays.stop()

            async def is_told() -> bool:
                return "no_replica" in (await ask(client, url, "a")).text

            await eventually("503 no_replica with both away", is_told)
            assert (await client.get(f"{url}/ready")).status_code == 503
            await goes.start()

            async def is_back() -> bool:
                return (await ask(client, url, "a")).text == json.dumps({"answered_by": goes.port})

            await eventually("the server that came back answers", is_back)
            await stays.start()
            assert await stopped(command) == 0


async def test_servers_that_want_a_key_get_it() -> None:
    """`--replica-key` is sent to the servers, for their models as for every request; clients need not know it."""
    async with httpx.AsyncClient() as client, OpenAiServer("a", key="s3cret") as server:
        with start(server, replica_key="s3cret") as command:
            url = await url_of(command)
            assert (await ask(client, url, "a")).json() == {"answered_by": server.port}
            assert await stopped(command) == 0


async def test_it_waits_for_servers_that_are_not_there_yet() -> None:
    """A gateway may start first: it says 503 while it does not know what there is, and serves as soon as it does."""
    server = OpenAiServer("a")
    await server.start()
    await server.stop()
    async with httpx.AsyncClient() as client:
        with start(server) as command:
            url = await url_of(command)
            early = await ask(client, url, "a")
            assert (early.status_code, early.headers["retry-after"]) == (503, "1")
            async with server:

                async def is_served() -> bool:
                    return (await ask(client, url, "a")).status_code == 200

                await eventually("the model is served", is_served)
                assert (await ask(client, url, "b")).status_code == 404
            assert await stopped(command) == 0


@pytest.mark.parametrize(("kv_blocks", "holds_all"), [(0, True), (17, False)])
async def test_what_a_server_is_thought_to_hold_is_bounded_by_the_cache_it_tells_of(
    kv_blocks: int,
    holds_all: bool,  # noqa: FBT001 - parametrized
) -> None:
    """16 blocks of 16 tokens hold 1 000 characters: of a longer prompt no more is expected there a while later."""
    body = {"model": "a", "messages": [{"role": "user", "content": " ".join(f"word{n}" for n in range(600))}]}
    async with httpx.AsyncClient() as client, OpenAiServer("a", kv_blocks=kv_blocks) as server:
        with start(server) as command:
            url = await url_of(command)
            for _ in range(4):
                await client.post(f"{url}/v1/chat/completions", json=body)
                await asyncio.sleep(1.5)  # claims are aged once a second
                explained = {"x-rackserve-explain": "1"}
                again = await client.post(f"{url}/v1/chat/completions", json=body, headers=explained)
                matched = int(again.headers["x-rackserve-matched-chars"])
                if holds_all == (matched > 4000):
                    break
            assert matched > 4000 if holds_all else matched <= 1100
            assert await stopped(command) == 0


async def test_tenants_come_from_a_file(tmp_path: Path) -> None:
    """Keys of the file, given as digest and as file, let in to the models they name; limits hold; others get 401."""
    (tmp_path / "beta").write_text("sk-beta\n")
    tenants: list[dict[str, object]] = [
        {"name": "acme", "key_sha256": sha256(b"sk-acme").hexdigest(), "models": ["a"], "requests_per_minute": 1},
        {"name": "beta", "key_file": str(tmp_path / "beta")},
    ]
    file = tmp_path / "tenants.yaml"
    file.write_text(yaml.safe_dump({"tenants": tenants}))
    async with httpx.AsyncClient() as client, OpenAiServer("a", "b") as server:
        with start(server, tenants=str(file)) as command:
            url = await url_of(command)

            async def answered(key: str, model: str) -> tuple[int, str]:
                client.headers["authorization"] = f"Bearer {key}"
                answer = await ask(client, url, model)
                return answer.status_code, answer.json().get("error", {}).get("code", "")

            assert await answered("sk-nobody", "a") == (401, "unauthorized")
            assert await answered("sk-beta", "b") == (200, "")
            assert await answered("sk-acme", "a") == (200, "")
            assert await answered("sk-acme", "a") == (429, "rate_limited")
            assert await answered("sk-acme", "b") == (403, "forbidden_model")
            assert await answered("sk-beta", "a") == (200, "")
            assert await stopped(command) == 0


def test_mistakes_in_a_tenants_file_are_told_with_their_lines(tmp_path: Path) -> None:
    """Each with its path, and what would be right; nothing listens."""
    file = tmp_path / "tenants.yaml"
    file.write_text(f"tenants:\n  - {{name: a, key_sha256: {'0' * 64}, model: [x]}}\n  - {{name: b, weight: -1}}\n")
    failed = run(RACKSERVE, "gateway", "--port", "0", "--replica", "127.0.0.1:1", "--tenants", str(file))
    assert failed.returncode == 2
    for words in (str(file), "tenants[0].model", "did you mean 'models'?", "tenants[1].weight", "line 3"):
        assert words in failed.stderr
    file.write_text("tenants:\n  - {name: a, key_file: /no/such/key}\n")
    failed = run(RACKSERVE, "gateway", "--port", "0", "--replica", "127.0.0.1:1", "--tenants", str(file))
    assert failed.returncode == 2
    assert "tenants[0].key_file: /no/such/key cannot be read" in failed.stderr


def test_it_imports_no_ray() -> None:
    """The gateway alone runs where Ray is not installed."""
    program = (
        "import sys, deployments.cli.main, deployments.standalone.foreground\n"
        "bad = sorted(m for m in sys.modules if m.split('.')[0] in {'ray', 'vllm', 'torch', 'grpc'})\n"
        "print(bad)"
    )
    assert run(sys.executable, "-c", program).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("http://127.0.0.1:8001", ("127.0.0.1", 8001)),
        ("127.0.0.1:8001", ("127.0.0.1", 8001)),
        ("http://node-3:8001/v1/", ("node-3", 8001)),
        ("http://[::1]:8001", ("::1", 8001)),
        ("http://plain", ("plain", 80)),
    ],
)
def test_server_urls(url: str, wanted: tuple[str, int]) -> None:
    """URLs are taken in every form people write them."""
    address = server_at(url)
    assert (address.host, address.port) == wanted


@pytest.mark.parametrize(
    "url", ["ftp://a:1", "http://a:1/v1/models", "http://:80", "http://a:0", "http://a:x", "http://a:"]
)
def test_urls_that_cannot_work_are_refused(url: str) -> None:
    """What this gateway cannot reach is told at once, with what would be right."""
    with pytest.raises(ClusterError, match="--replica"):
        server_at(url)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--replica", "ftp://a:1"), "is no URL of a server"),
        (("--replica", "127.0.0.1:1", "--policy", "least-load"), "did you mean 'least_load'?"),
        (
            ("--replica", "127.0.0.1:1", "--policy", "prefix_affinity:exact"),
            "needs residency of every replica; 127.0.0.1:1 provides no telemetry; choose a policy that does without: ",
        ),
    ],
)
def test_wrong_options_are_one_clear_message(arguments: tuple[str, ...], words: str) -> None:
    """No traceback, exit code 1, and what would be right."""
    failed = run(RACKSERVE, "gateway", "--port", "0", "--admin-port", "0", *arguments)
    assert failed.returncode == 1
    assert failed.stderr.startswith("rackserve: ")
    assert words in failed.stderr
    assert "Traceback" not in failed.stderr


async def test_pages_of_named_origins_may_use_it() -> None:
    """`--cors-origin` lets a browser's page ask; what is no origin is told before anything starts."""
    origin = "https://app.example"
    async with httpx.AsyncClient() as client, OpenAiServer("a") as server:
        with start(server, cors_origin=origin) as command:
            url = await url_of(command)
            asked = {"origin": origin, "access-control-request-method": "POST"}
            answer = await client.options(f"{url}/v1/chat/completions", headers=asked)
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, origin)
            assert await stopped(command) == 0
        with start(server, cors_origin="app.example/") as command:
            assert await asyncio.to_thread(command.wait) == 2
            assert "--cors-origin" in command.output
