"""The options of `rackserve gateway`: each does what its help says, with real sockets and certificates."""

import asyncio
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.integration.cluster.command import RACKSERVE, Command
from tests.integration.gateway.certificates import CertificateAuthority
from tests.integration.gateway.scripted_replica import Received, ScriptedReplica
from tests.integration.standalone.scripted_server import requests_to, scripted_server


@contextmanager
def gateway(*options: str) -> Iterator[Command]:
    """Run the command on free ports of this machine."""
    with Command(RACKSERVE, "gateway", "--host", "127.0.0.1", "--port", "0", "--admin-port", "0", *options) as command:
        yield command


async def url_of(command: Command) -> str:
    """Return where the gateway listens."""
    return (await asyncio.to_thread(command.wait_for_line, "READY ")).removeprefix("READY ")


async def ask(url: str, *, verify: ssl.SSLContext | bool = True, **headers: str) -> httpx.Response:
    """Ask model `m` once."""
    async with httpx.AsyncClient(trust_env=False, verify=verify, timeout=20) as client:
        return await client.post(
            f"{url}/v1/chat/completions",
            json={"model": "m", "messages": []},
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )


async def test_an_https_server_under_a_path_with_a_key_of_its_own(tmp_path: Path) -> None:
    """`--upstream-ca`, a path and a servers file's key: polls and requests go the same way, and get their answers."""
    authority = CertificateAuthority(tmp_path)
    context = authority.server_context("localhost", "127.0.0.1")
    (tmp_path / "key").write_text("sk-up\n")
    async with scripted_server("m", key="sk-up", prefix="/team/openai", tls=context) as server:
        file = tmp_path / "servers.yaml"
        url = f"https://localhost:{server.port}/team/openai/v1"
        file.write_text(json.dumps({"servers": [{"url": url, "key_file": str(tmp_path / "key")}]}))
        with gateway("--servers", str(file), "--upstream-ca", str(authority.ca_file)) as command:
            answer = await ask(await url_of(command), authorization="Bearer sk-client")
            assert answer.json()["path"] == "/team/openai/v1/chat/completions"
            assert requests_to(server)[0].header("authorization") == "Bearer sk-up"
            assert requests_to(server)[0].header("host") == f"localhost:{server.port}"


async def test_a_server_whose_certificate_is_not_trusted_is_told(tmp_path: Path) -> None:
    """Without the authority nothing is sent, and the log says why."""
    authority = CertificateAuthority(tmp_path)
    async with scripted_server("m", tls=authority.server_context("127.0.0.1")) as server:
        with gateway("--replica", f"https://127.0.0.1:{server.port}") as command:
            assert (await ask(await url_of(command))).status_code == 503
            assert not server.received
            assert "certificate verify failed" in command.output


async def test_clients_keys_and_named_headers_are_passed_on() -> None:
    """`--pass-authorization` and `--forward-header`: the server sees the client's own; polls use `--replica-key`."""
    async with scripted_server("m") as server:
        options = ("--pass-authorization", "--replica-key", "sk-poll", "--forward-header", "X-Data-Parallel-Rank")
        with gateway("--replica", f"127.0.0.1:{server.port}", *options, "--forward-header", "baggage") as command:
            url = await url_of(command)
            await ask(url, authorization="Bearer sk-client", x_data_parallel_rank="3", baggage="a=1", x_other="1")
            seen = requests_to(server)[0]
            assert seen.header("authorization") == "Bearer sk-client"
            assert (seen.header("x-data-parallel-rank"), seen.header("baggage")) == ("3", "a=1")
            assert seen.header("x-other") is None
            polls = [each for each in server.received if each.head.startswith(b"GET /v1/models")]
            assert polls[0].header("authorization") == "Bearer sk-poll"


async def test_the_apps_port_speaks_https(tmp_path: Path) -> None:
    """`--tls-cert` and `--tls-key`: clients that trust the authority are served, plain ones are not."""
    authority = CertificateAuthority(tmp_path)
    cert, key = authority.issue("127.0.0.1")
    async with scripted_server("m") as server:
        replica = ("--replica", f"127.0.0.1:{server.port}")
        with gateway(*replica, "--tls-cert", str(cert), "--tls-key", str(key)) as command:
            url = await url_of(command)
            assert url.startswith("https://")
            trusting = ssl.create_default_context(cafile=authority.ca_file)
            assert (await ask(url, verify=trusting)).status_code == 200
            with pytest.raises(httpx.HTTPError):
                await ask(url.replace("https", "http"))


async def test_bodies_and_idle_connections_have_the_given_limits() -> None:
    """`--max-body`, `--idle-timeout` and `--header-timeout`."""
    async with scripted_server("m") as server:
        limits = ("--max-body", "2K", "--idle-timeout", "0.3", "--header-timeout", "0.3")
        with gateway("--replica", f"127.0.0.1:{server.port}", *limits) as command:
            url = await url_of(command)
            assert (await ask(url)).status_code == 200
            async with httpx.AsyncClient(trust_env=False) as client:
                long = json.dumps({"model": "m", "prompt": "x" * 2048})
                assert (await client.post(f"{url}/v1/completions", content=long)).status_code == 413
            for sent, wanted in ((b"", b""), (b"GET / HT", b"HTTP/1.1 408 ")):
                reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
                writer.write(sent)
                async with asyncio.timeout(10):
                    assert (await reader.read()).startswith(wanted)
                writer.close()


async def test_bodies_that_come_in_have_the_given_bounds() -> None:
    """`--max-incoming`: the longest of those that are too long together yields. `--min-body-rate`: a slow one does."""
    head = b"POST /v1/completions HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n"
    async with scripted_server("m") as server:
        limits = ("--max-body", "4K", "--max-incoming", "4K", "--min-body-rate", "1e6", "--header-timeout", "2")
        with gateway("--replica", f"127.0.0.1:{server.port}", *limits) as command:
            port = httpx.URL(await url_of(command)).port

            async def send(length: int, part: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(head + b"content-length: %d\r\n\r\n" % length + b"x" * part)
                await writer.drain()
                return reader, writer

            long, shorter = await send(4000, 3000), await send(3000, 2000)
            async with asyncio.timeout(10):
                assert (await long[0].readline()).startswith(b"HTTP/1.1 503 ")
                assert (await shorter[0].readline()).startswith(b"HTTP/1.1 408 ")
            for _, writer in (long, shorter):
                writer.close()


async def test_servers_have_no_more_requests_than_given() -> None:
    """`--max-requests-per-server`: the others wait in the gateway and are served in turn, over all of its models."""
    running, most = 0, 0

    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        if request.head.startswith(b"GET "):
            body = b'{"data":[{"id":"m"},{"id":"n"}]}'
        else:
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.05)
            running -= 1
            body = b"{}"
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))

    async with ScriptedReplica(answer) as server:
        with gateway("--replica", f"127.0.0.1:{server.port}", "--max-requests-per-server", "2") as command:
            url = await url_of(command)
            async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
                asked = [client.post(f"{url}/v1/completions", json={"model": "mn"[n % 2]}) for n in range(12)]
                assert [answer.status_code for answer in await asyncio.gather(*asked)] == [200] * 12
    assert most == 2


async def test_waiting_streams_get_heartbeats_and_broken_ones_end() -> None:
    """`--heartbeat` and `--no-resume` reach the data plane."""

    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        if request.head.startswith(b"GET "):
            writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{"data":[{"id":"m"}]}')
            return
        await asyncio.sleep(0.8)
        event = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(b"%x\r\n%s\r\n" % (len(event), event))
        writer.close()

    async with ScriptedReplica(answer) as first, ScriptedReplica(answer) as second:
        replicas = [part for each in (first, second) for part in ("--replica", f"127.0.0.1:{each.port}")]
        with gateway(*replicas, "--heartbeat", "0.25", "--no-resume") as command:
            url = await url_of(command)
            async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
                body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]}
                text = (await client.post(f"{url}/v1/chat/completions", json=body)).text
                assert text.startswith(": waiting\n\n")
                assert text.index(": waiting") < text.index("hi") < text.index("replica_failed")
            assert len(requests_to(first)) + len(requests_to(second)) == 1
