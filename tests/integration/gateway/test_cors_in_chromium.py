"""A page in a real browser uses the gateway of another origin."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from router.http.wire.chunked import LAST_CHUNK, chunk
from tests.integration.gateway.running_gateway import running_gateway
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, ScriptedReplica, plain

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt install chromium)")

PAGE = """<!doctype html><script>
const url = "http://127.0.0.1:%d/v1/chat/completions";
async function ask(key, body) {
  try {
    const answer = await fetch(url, {
      method: "POST", body: JSON.stringify({model: "m", ...body}),
      headers: {"content-type": "application/json", "authorization": "Bearer " + key, "x-stainless-lang": "js"},
    });
    return {status: answer.status, id: answer.headers.get("x-request-id"), text: await answer.text()};
  } catch (error) { return {error: String(error)}; }
}
(async () => {
  const seen = {plain: await ask("k", {}), stream: await ask("k", {stream: true}), refused: await ask("wrong", {})};
  await fetch("/seen", {method: "POST", body: JSON.stringify(seen)});
})();
</script>"""


class _Site:
    """A web server with one page, whose script tells it what it saw."""

    def __init__(self) -> None:
        self.page = ""
        self.port = 0
        self.seen: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST /seen"):
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            self.seen.set_result(json.loads(await reader.readexactly(length)))
        body = self.page.encode() if head.startswith(b"GET / ") else b""
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n")
        writer.write(b"content-length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()


@asynccontextmanager
async def site() -> AsyncIterator[_Site]:
    """Run a web server."""
    page = _Site()
    server = await asyncio.start_server(page.serve, "127.0.0.1", 0)
    page.port = server.sockets[0].getsockname()[1]
    try:
        yield page
    finally:
        server.close()


async def _visit(port: int, home: Path) -> asyncio.subprocess.Process:
    assert CHROMIUM is not None
    return await asyncio.create_subprocess_exec(
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        f"--user-data-dir={home}",
        f"http://127.0.0.1:{port}/",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


async def _script(received: Received, writer: asyncio.StreamWriter) -> None:
    if b"stream" in received.body:
        writer.write(SSE_HEAD + chunk(b"data: 1\n\n") + chunk(b"data: [DONE]\n\n") + LAST_CHUNK)
    else:
        writer.write(plain(b'"fine"'))


@pytest.mark.parametrize("is_allowed", [True, False])
async def test_a_page_asks_the_gateway(is_allowed: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a table
    """An allowed origin's page reads answers, streams, errors and their ids; another's reads nothing."""
    async with ScriptedReplica(_script) as replica, site() as page:
        origin = f"http://127.0.0.1:{page.port}" if is_allowed else "https://app.example"
        async with running_gateway(
            [replica.port],
            cors={"origins": [origin]},
            tenants=[{"name": "t", "key_sha256": sha256(b"k").hexdigest()}],
        ) as gateway:
            page.page = PAGE % gateway.port
            browser = await _visit(page.port, tmp_path)
            try:
                async with asyncio.timeout(60):
                    seen = await page.seen
            finally:
                browser.terminate()
                await browser.wait()
    if is_allowed:
        assert {name: answer["status"] for name, answer in seen.items()} == {
            "plain": 200,
            "stream": 200,
            "refused": 401,
        }
        assert seen["plain"]["text"] == '"fine"'
        assert seen["stream"]["text"] == "data: 1\n\ndata: [DONE]\n\n"
        assert "unauthorized" in seen["refused"]["text"]
        assert all(answer["id"] for answer in seen.values())
    else:
        assert all("error" in answer for answer in seen.values())
        assert not replica.received
