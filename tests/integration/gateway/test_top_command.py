"""`rackserve top` against a running gateway."""

import asyncio

from typer.testing import CliRunner

from cluster.errors import ClusterUnreachableError
from deployments.cli import main as cli
from router.replicas.load_report import LoadReport
from tests.integration.gateway.running_gateway import ask, request, running_gateway
from tests.integration.gateway.scripted_replica import Received, ScriptedReplica, plain

runner = CliRunner()


async def _answer(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(plain(b"{}"))


def _top(*admin_urls: str) -> tuple[BaseException | None, str]:
    words = ["top", "--once", "--interval", "0.5"]
    for url in admin_urls:
        words += ["--admin", url]
    result = runner.invoke(cli.app, words, env={"COLUMNS": "80", "LINES": "24"})
    return result.exception, result.stdout


async def test_it_shows_what_the_gateways_know() -> None:
    """One screen of 80 columns: each model, and each replica with its load; a gateway that is away is left out."""
    async with ScriptedReplica(_answer) as replica, running_gateway([replica.port]) as gateway:
        for _ in range(3):
            assert (await ask(gateway.port, request()))[0] == 200
        gateway.apply_report("r0", LoadReport(1, 3, 2, 512, 0.5, 4096, 9000.0, 250.0))
        error, screen = await asyncio.to_thread(_top, f"http://127.0.0.1:{gateway.admin_port}", "http://127.0.0.1:1")
    assert error is None
    lines = screen.splitlines()
    assert max(map(len, lines)) <= 80
    assert "1 gateway, 1 replicas" in lines[0]
    (row,) = (line.split() for line in lines if " r0 " in line)
    assert row[-5:] == ["3", "2", "████····", "50%", "250"]


def test_nobody_there_is_told() -> None:
    """Where no gateway answers, the command says which it asked and what to give."""
    error, _ = _top("http://127.0.0.1:1")
    assert isinstance(error, ClusterUnreachableError)
    assert "http://127.0.0.1:1" in str(error)
    assert "--url" in str(error)
