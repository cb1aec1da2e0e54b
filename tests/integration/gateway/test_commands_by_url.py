"""The commands that look at what runs, pointed at a running gateway by `--url`; no Ray is there."""

import asyncio
import json
import re

import pytest
from typer.testing import CliRunner

from cluster.errors import ClusterError, ClusterUnreachableError
from deployments.cli import main as cli
from router.replicas.adapter_report import AdapterReport
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from tests.free_ports import free_port
from tests.integration.gateway.running_gateway import NOT_HELD, ask, request, running_gateway
from tests.integration.gateway.scripted_replica import Received, ScriptedReplica, plain

LONG_ID = "a-deployment-with-a-long-name#4f9a-replica-0123456789"
COMMANDS = (("status",), ("top", "--once", "--interval", "0.2"), ("why",), ("topology",))
runner = CliRunner()


async def _answer(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(plain(b"{}"))


def _run(*words: str, **env: str) -> tuple[BaseException | None, str]:
    result = runner.invoke(cli.app, words, env={"COLUMNS": "80", "LINES": "40", **env})
    return result.exception, result.stdout


def _endpoint(port: int) -> Endpoint:
    return Endpoint(LONG_ID, "m", "127.0.0.1", port)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("option", ["--url", "--admin"])
async def test_each_shows_what_the_gateway_knows_with_whole_ids(command: tuple[str, ...], option: str) -> None:
    """At 80 columns a replica's id stands in one line, from which it can be copied."""
    async with ScriptedReplica(_answer) as replica, running_gateway([], endpoints=[_endpoint(replica.port)]) as gateway:
        assert (await ask(gateway.port, request()))[0] == 200
        gateway.apply_report(LONG_ID, LoadReport(1, 3, 2, 512, 0.5, 4096, 9000.0, 250.0))
        error, text = await asyncio.to_thread(_run, *command, option, f"127.0.0.1:{gateway.admin_port}")
    assert error is None
    shown = LONG_ID[-30:] if command[0] == "top" else LONG_ID  # a live screen cannot grow
    assert any(shown in line for line in text.splitlines()), text


async def test_a_decisions_terms_keep_their_headings() -> None:
    """Each term of a candidate's cost stands beside its whole name, and the pick is marked."""
    ids = [f"{LONG_ID}{n}" for n in range(2)]
    async with ScriptedReplica(_answer) as replica:
        endpoints = [Endpoint(each, "m", "127.0.0.1", replica.port) for each in ids]
        async with running_gateway([], endpoints=endpoints) as gateway:
            headers = (await ask(gateway.port, request(headers=b"x-request-id: asked-once\r\n")))[1]
            url = f"http://127.0.0.1:{gateway.admin_port}"
            error, text = await asyncio.to_thread(_run, "why", headers["x-request-id"], "--url", url)
            _, as_json = await asyncio.to_thread(_run, "why", headers["x-request-id"], "--url", url, "--json")
    assert error is None
    (attempt,) = json.loads(as_json)["attempts"]
    assert f"{attempt['picked']} ←" in text
    assert all(each in text for each in ids)
    for term in attempt["candidates"][0]["terms"]:
        assert re.search(rf"\b{term} \S", text), term


async def test_status_and_the_list_tell_of_adapters() -> None:
    """Which replica has which adapter loaded, how long loads take, and why one cannot be served."""
    why = "source 'org/big' has rank 64, above the model's `adapter_rank` of 16: raise that"
    report = AdapterReport(frozenset({"sql", "poet"}), ("sql",), 4, load_s=0.25, loads=3, problems={"big": why})
    async with ScriptedReplica(_answer) as replica, running_gateway([], endpoints=[_endpoint(replica.port)]) as gateway:
        gateway.apply_adapters(LONG_ID, report)
        url = f"http://127.0.0.1:{gateway.admin_port}"
        _, status = await asyncio.to_thread(_run, "status", "--url", url)
        error, listed = await asyncio.to_thread(_run, "adapters", "list", "--url", url, "--json")
        _, table = await asyncio.to_thread(_run, "adapters", "list", "--url", url)
    assert error is None
    assert f"adapters m on {LONG_ID}: sql loaded, of 2 in 4 slots; 3 loads of 0.25 s" in status
    assert f"adapter big cannot be served on {LONG_ID}: {why}" in status
    assert json.loads(listed) == [
        {"adapter": "big", "model": "m", "loaded": [], "problems": [why]},
        {"adapter": "poet", "model": "m", "loaded": [], "problems": []},
        {"adapter": "sql", "model": "m", "loaded": [LONG_ID], "problems": []},
    ]
    assert all(name in table for name in ("sql", "poet", "big"))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
async def test_the_apps_url_leads_to_the_admin_port_next_to_it(command: tuple[str, ...]) -> None:
    """READY prints the apps' URL, so people have it at hand; what answers there is proven by its port."""
    port = free_port()
    async with ScriptedReplica(_answer) as replica:
        endpoints = [_endpoint(replica.port)]
        async with running_gateway([], endpoints=endpoints, port=port, admin_port=port + 2):
            error, _ = await asyncio.to_thread(_run, *command, "--url", f"http://127.0.0.1:{port}/v1")
    assert error is None


async def test_what_is_no_admin_port_is_told_as_such() -> None:
    """The apps' port, where the admin port cannot be guessed: which key of the cluster file has it."""
    async with ScriptedReplica(_answer) as replica, running_gateway([replica.port]) as gateway:
        error, _ = await asyncio.to_thread(_run, "status", "--url", f"http://127.0.0.1:{gateway.port}")
    assert isinstance(error, ClusterError)
    assert "gateway.admin_port" in str(error)


async def test_chat_takes_either_port() -> None:
    """The apps' URL, or the admin port, which knows it; both are asked for the models first."""
    async with running_gateway([], models=[NOT_HELD]) as gateway:
        for port in (gateway.port, gateway.admin_port):
            error, _ = await asyncio.to_thread(_run, "chat", "hello", "--url", f"http://127.0.0.1:{port}")
            assert isinstance(error, ClusterError)
            assert "no replica" in str(error) or "serves no model" in str(error), error


@pytest.mark.parametrize("command", [*COMMANDS, ("chat", "hello")], ids=lambda command: command[0])
def test_a_dead_url_is_one_line(command: tuple[str, ...]) -> None:
    """Which URL was asked, and why nothing came of it."""
    error, _ = _run(*command, "--url", "http://127.0.0.1:1")
    assert isinstance(error, ClusterUnreachableError)
    assert "http://127.0.0.1:1" in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize("command", [*COMMANDS, ("chat", "hello"), ("logs", "m"), ("scale", "m", "2")])
def test_a_dead_ray_address_is_one_line(command: tuple[str, ...]) -> None:
    """The same for every command that takes one, by option or environment, before Ray is loaded."""
    for error, _ in (_run(*command, "--address", "127.0.0.1:1"), _run(*command, RAY_ADDRESS="127.0.0.1:1")):
        assert isinstance(error, ClusterUnreachableError)
        assert str(error).startswith("no Ray cluster at 127.0.0.1:1: ")
        assert "\n" not in str(error)
