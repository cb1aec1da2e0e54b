"""The cluster's own addresses are asked directly, whatever the environment says of proxies."""

import ast
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import deployments
from deployments.commands.observe.chat import ChatEndpoint
from deployments.commands.observe.explanation import fetch_explanation
from deployments.process.direct_http import direct_client, direct_get

HTTPX = frozenset(
    {"AsyncClient", "Client", "delete", "get", "head", "options", "patch", "post", "put", "request", "stream"}
)
"""What of httpx makes a client, which obeys the environment unless told otherwise."""
OTHERS = ("aiohttp", "http.client", "requests", "urllib.request", "urllib3")
"""Other modules that make HTTP requests."""


class _Answers(BaseHTTPRequestHandler):
    """Answers each GET with its server's name."""

    def do_GET(self) -> None:
        """Answer."""
        body = b'{"data":[{"id":"m"}],"at":"server"}'
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.server.asked.append(self.path)  # type: ignore[attr-defined] # this test's own attribute

    def log_message(self, *_: object) -> None:
        """Write no log."""


@contextmanager
def server() -> Iterator[HTTPServer]:
    """Run an HTTP server on a free port; `asked` lists the targets it was asked for."""
    running = HTTPServer(("127.0.0.1", 0), _Answers)
    running.asked = []  # type: ignore[attr-defined] # this test's own attribute
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield running
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_no_proxy_of_the_environment_is_asked(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients, single requests and the commands' own go straight to the address."""
    with server() as proxy, server() as gateway:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.server_port}")
        monkeypatch.setenv("NO_PROXY", "elsewhere.example")
        url = f"http://127.0.0.1:{gateway.server_port}"
        with direct_client(timeout=5.0, base_url=url) as client:
            assert client.get("/a").is_success
        assert direct_get(f"{url}/b", 5.0).is_success
        assert ChatEndpoint(url).models() == ["m"]
        assert fetch_explanation(url, "r1")["at"] == "server"
        assert gateway.asked == ["/a", "/b", "/v1/models", "/why/r1"]  # type: ignore[attr-defined] # ours
        assert proxy.asked == []  # type: ignore[attr-defined] # ours


def made_clients(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and words of each place where a source makes an HTTP client of its own."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="httpx"), attr=name)) if name in HTTPX:
                yield node.lineno, f"httpx.{name}"
            case ast.ImportFrom(module="httpx", names=names) if HTTPX & {alias.name for alias in names}:
                yield node.lineno, "from httpx import …"
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names if alias.name in OTHERS)
            case ast.ImportFrom(module=module) if module in OTHERS:
                yield node.lineno, str(module)


def test_no_other_code_makes_http_clients() -> None:
    """Every HTTP client of the product is made by `direct_http`, so none obeys the environment by oversight.

    But for that of the Hugging Face hub, which is outside: where a proxy is the way out, engines take it, too. And for
    that of the media in prompts, which connects to checked addresses and to no proxy.
    """
    root = Path(deployments.__file__).parent
    others = {
        root / "process" / "direct_http.py",
        root / "models" / "hub.py",
        root / "engines" / "media" / "fetcher.py",
    }
    sources = {file: file.read_text() for file in sorted(root.rglob("*.py")) if file not in others}
    found = [f"{file}:{line}: {words}" for file, source in sources.items() for line, words in made_clients(source)]
    assert found == []
    assert list(made_clients("import httpx\nhttpx.get('http://a')")) == [(2, "httpx.get")]


def test_grpc_channels_use_no_proxy() -> None:
    """GRPC obeys `http_proxy` by itself, so each channel says that it shall not."""
    root = Path(deployments.__file__).parent
    for file in root.rglob("*.py"):
        source = file.read_text()
        if "secure_channel(" in source:
            assert '("grpc.enable_http_proxy", 0)' in source, file
