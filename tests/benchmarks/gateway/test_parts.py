"""Parts of the gateway's benchmark that a wrong figure could come from: forms of our code, the bare proxy, the bars."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.gateway.bare_proxy import BareProxy, FromClient
from tests.benchmarks.gateway.code_forms import copy_without_extensions
from tests.benchmarks.gateway.promises import cpu_bars
from tests.benchmarks.rounds import Figure
from tests.benchmarks.server_process import ROOT


def test_the_copy_for_the_interpreted_form_has_the_sources_and_nothing_compiled(tmp_path: Path) -> None:
    """Every source of the gateway is copied as it is, and no extension module."""
    copy = copy_without_extensions(ROOT, tmp_path / "copy")
    sources = {path.relative_to(ROOT) for path in (ROOT / "router").rglob("*.py")}
    assert {path.relative_to(copy) for path in (copy / "router").rglob("*.py")} == sources
    assert not list(copy.rglob("*.so"))


def test_a_gateway_of_the_wrong_form_does_not_start(tmp_path: Path) -> None:
    """What the copy runs is interpreted, and is never measured as the compiled form."""
    copy = copy_without_extensions(ROOT, tmp_path / "copy")
    gateway = [sys.executable, "-P", "-m", "tests.benchmarks.gateway.our_gateway", "--port", "0", "--api-key", "k"]
    ran = subprocess.run(
        [*gateway, "--replica", "http://127.0.0.1:1", "--policy", "round_robin", "--form", "compiled"],
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr.strip()) == (1, "this gateway's code is interpreted, not compiled")


async def test_the_bare_proxy_frees_a_connection_at_an_answer_s_end_and_not_before() -> None:
    """Answers of known length, streams in pieces, and a head that ends in `0`: one server connection serves all."""
    stream = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nretries: 0\r\n\r\n"
    answers = [
        [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", b"hel", b"lo"],
        [stream, b"3\r\nabc\r\n", b"0\r\n", b"\r\n"],
        [stream, b"3\r\nabc\r\n0\r", b"\n\r\n"],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"],
    ]
    accepted = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            for part in answer:
                writer.write(part)
                await asyncio.sleep(0.01)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy = BareProxy([server.sockets[0].getsockname()[1]])
    front = await asyncio.get_running_loop().create_server(lambda: FromClient(proxy), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", front.sockets[0].getsockname()[1])
    for answer in answers:
        writer.write(b"GET /x HTTP/1.1\r\ncontent-length: 0\r\n\r\n")
        expected = b"".join(answer)
        assert await reader.readexactly(len(expected)) == expected
    assert accepted == 1
    writer.close()
    proxy.close()
    front.close()
    server.close()
    await asyncio.sleep(0.05)  # for the connections' other ends


def test_a_bar_compares_with_the_better_peer_on_each_shape() -> None:
    """The lowest round of ours over the lowest of any peer's; forms and shapes that did not run have no bar."""

    def row(*rounds: float) -> dict[str, Figure]:
        return {"cpu": Figure("us/request", list(rounds))}

    figures = {
        "words40": {"interpreted": row(90, 95), "smg": row(100, 120), "vllm-router": row(300)},
        "stream": {"interpreted": row(900), "smg": row(1000), "vllm-router": row(800, 810)},
        "chars100k": {"interpreted": row(400)},
    }
    assert [(bar.name, bar.value, bar.bound) for bar in cpu_bars(figures)] == [
        ("cpu_ratio_words40_interpreted", 0.9, 1.0),
        ("cpu_ratio_stream_interpreted", 1.125, 0.95),
    ]
