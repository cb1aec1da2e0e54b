"""Media come from allowed hosts at checked addresses alone, within their size and time, whatever their server does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from cluster.spec.model_parts.media_spec import MediaSpec
from deployments.engines.media.fetcher import MAX_AT_ONCE, MediaFetcher
from deployments.engines.media.refused import MediaRefusal, MediaRefusedError
from router.replicas.media_report import NO_MEDIA, MediaReport

Answer = Callable[[str, dict[str, str]], bytes]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(1000)


def ok(body: bytes = PNG, *headers: str) -> bytes:
    """Return a response with a body."""
    head = ["HTTP/1.1 200 OK", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def redirect(where: str) -> bytes:
    """Return a response that sends on."""
    return f"HTTP/1.1 302 Found\r\nlocation: {where}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()


class PictureServer:
    """A server on loopback.

    Attributes:
        port: where it listens.
        seen: the paths that were asked for, each with the `Host`.
        pause_s: seconds before it answers.
    """

    def __init__(self, answers: dict[str, bytes]) -> None:
        self.answers = answers
        self.seen: list[tuple[str, str]] = []
        self.headers: dict[str, str] = {}
        self.pause_s = 0.0
        self.at_once = self.most_at_once = 0
        self.port = 0
        self.is_over = asyncio.Event()
        self.connections: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        with suppress(asyncio.IncompleteReadError):  # the client left before it asked
            await self._answer(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        path = head[0].split()[1]
        self.headers = dict(line.split(": ", 1) for line in head[1:] if line)
        self.seen.append((path, self.headers["host"]))
        with suppress(TimeoutError):
            await asyncio.wait_for(self.is_over.wait(), self.pause_s)
        self.at_once -= 1
        writer.write(self.answers.get(path, b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"))


@asynccontextmanager
async def serving(**answers: bytes) -> AsyncIterator[PictureServer]:
    """Serve `/NAME` for each answer."""
    found = PictureServer({f"/{name}": answer for name, answer in answers.items()})
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    async with server:
        yield found
        found.is_over.set()
        server.close()
        for _ in range(10):  # a connection that was just accepted takes some turns until it is served
            await asyncio.sleep(0)
        await asyncio.gather(*found.connections)


def fetcher_for(
    server: PictureServer,
    *,
    addresses: Sequence[str] = ("127.0.0.1",),
    may_connect: Callable[[str], bool] = lambda address: address == "127.0.0.1",
    resolve: Callable[[str, int], Awaitable[Sequence[str]]] | None = None,
    **spec: Any,  # noqa: ANN401 - keys of the spec
) -> MediaFetcher:
    """Return a fetcher for which the server's names are public."""

    async def known(_host: str, _port: int) -> Sequence[str]:
        return addresses

    media = MediaSpec(domains=(f"a.example:{server.port}", f"*.b.example:{server.port}"), **spec)
    return MediaFetcher("m", media, resolve=resolve or known, may_connect=may_connect)


async def refusal(fetcher: MediaFetcher, url: str) -> MediaRefusedError:
    """Return why a URL is refused; the fetcher counts it."""
    before = fetcher.refused.copy()
    with pytest.raises(MediaRefusedError) as refused:
        await fetcher.fetch(url)
    assert fetcher.refused - before == {refused.value.reason: 1}
    assert fetcher.report().refused[refused.value.reason] == fetcher.refused[refused.value.reason]
    return refused.value


async def test_an_allowed_image_is_fetched() -> None:
    """From the address that its name has, with the name as `Host`; what was fetched is counted."""
    async with serving(a=ok()) as server:
        fetcher = fetcher_for(server)
        assert await fetcher.fetch(f"http://A.example:{server.port}/a") == PNG
        assert server.seen == [("/a", f"a.example:{server.port}")]
        assert fetcher.report() == MediaReport(1, len(PNG), {})


async def test_by_default_no_domain_is_allowed() -> None:
    """The message says which key of the file decides; nothing is looked up."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        raise AssertionError((host, port))

    fetcher = MediaFetcher("m", MediaSpec(), resolve=resolve)
    error = await refusal(fetcher, "https://a.example/a.png")
    assert error.reason is MediaRefusal.DOMAIN
    assert MediaFetcher("m", MediaSpec()).report() is NO_MEDIA
    assert "media.domains of the model 'm'" in str(error)
    assert "data:" in str(error)


async def test_a_private_address_is_never_asked() -> None:
    """Whatever the file allows: by default loopback is refused, and one wrong address of several is enough."""
    async with serving(a=ok()) as server:
        url = f"http://a.example:{server.port}/a"

        async def loopback(_host: str, _port: int) -> Sequence[str]:
            return ["127.0.0.1"]

        media = MediaSpec(domains=(f"a.example:{server.port}",))
        assert (await refusal(MediaFetcher("m", media, resolve=loopback), url)).reason is MediaRefusal.ADDRESS
        mixed = fetcher_for(server, addresses=("127.0.0.1", "10.0.0.1"))
        assert (await refusal(mixed, url)).reason is MediaRefusal.ADDRESS
        assert (await refusal(fetcher_for(server, addresses=()), url)).reason is MediaRefusal.ADDRESS
        assert server.seen == []


async def test_localhost_is_refused_by_the_systems_own_look_up() -> None:
    """With the resolver and the check of the product."""
    async with serving(a=ok()) as server:
        fetcher = MediaFetcher("m", MediaSpec(domains=(f"localhost:{server.port}",)))
        assert (await refusal(fetcher, f"http://localhost:{server.port}/a")).reason is MediaRefusal.ADDRESS
        assert server.seen == []


async def test_a_name_server_that_changes_its_mind_gains_nothing() -> None:
    """DNS rebinding: the name is looked up once, and the connection goes to what was checked."""
    async with serving(a=ok()) as server:
        asked = []

        async def rebinding(host: str, _port: int) -> Sequence[str]:
            asked.append(host)
            return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

        assert await fetcher_for(server, resolve=rebinding).fetch(f"http://a.example:{server.port}/a") == PNG
        assert asked == ["a.example"]


async def test_redirects_are_checked_as_the_first_url_is() -> None:
    """Within the allowed hosts they are followed, to any other they are not, nor to other schemes, nor for ever."""
    async with serving(
        near=redirect("/a"),
        far=redirect("http://169.254.169.254/latest/meta-data/"),
        file=redirect("file:///etc/passwd"),
        loop=redirect("/loop"),
        a=ok(),
    ) as server:
        base = f"http://a.example:{server.port}"
        server.answers["/other"] = redirect(f"http://x.b.example:{server.port}/a")
        fetcher = fetcher_for(server)
        assert await fetcher.fetch(f"{base}/near") == PNG
        assert await fetcher.fetch(f"{base}/other") == PNG
        assert server.seen[-1] == ("/a", f"x.b.example:{server.port}")
        for path in ("far", "file", "loop"):
            assert (await refusal(fetcher, f"{base}/{path}")).reason is MediaRefusal.REDIRECT


async def test_a_redirect_to_a_private_address_is_refused() -> None:
    """To an allowed name whose address is not public."""

    async def resolve(host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1"] if host == "a.example" else ["10.0.0.1"]

    async with serving() as server:
        server.answers["/a"] = redirect(f"http://x.b.example:{server.port}/a")
        error = await refusal(fetcher_for(server, resolve=resolve), f"http://a.example:{server.port}/a")
        assert error.reason is MediaRefusal.ADDRESS


async def test_size_is_bounded_told_or_not() -> None:
    """By what the server says beforehand, by what comes, and for what comes inline."""
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"7d0\r\n" + bytes(2000) + b"\r\n0\r\n\r\n"
    async with serving(told=ok(bytes(2000)), chunked=chunked, right=ok(bytes(1500))) as server:
        fetcher = fetcher_for(server, max_bytes=1500)
        base = f"http://a.example:{server.port}"
        for path in ("told", "chunked"):
            error = await refusal(fetcher, f"{base}/{path}")
            assert error.reason is MediaRefusal.SIZE
            assert "media.max_bytes = 1500" in str(error)
        assert len(await fetcher.fetch(f"{base}/right")) == 1500
        fetcher.check_size("data:image/png;base64," + "A" * 2000)
        with pytest.raises(MediaRefusedError):
            fetcher.check_size("data:image/png;base64," + "A" * 2008)


async def test_time_is_bounded() -> None:
    """A server that does not answer, and one that never ends."""
    async with serving(a=ok()) as server:
        server.pause_s = 5.0
        fetcher = fetcher_for(server, timeout_s=0.2)
        assert (await refusal(fetcher, f"http://a.example:{server.port}/a")).reason is MediaRefusal.TIME


async def test_wrong_answers_are_told() -> None:
    """Errors, contents that were compressed although nobody asked, a broken end, and no server at all."""
    broken = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nxx"
    async with serving(packed=ok(PNG, "content-encoding: gzip"), broken=broken) as server:
        fetcher = fetcher_for(server)
        for path in ("nothing", "packed", "broken"):
            assert (await refusal(fetcher, f"http://a.example:{server.port}/{path}")).reason is MediaRefusal.ANSWER
        assert server.headers["accept-encoding"] == "identity"
    assert (await refusal(fetcher, f"http://a.example:{server.port}/a")).reason is MediaRefusal.UNREACHABLE


async def test_an_unknown_name_is_told() -> None:
    """As unreachable."""

    async def unknown(_host: str, _port: int) -> Sequence[str]:
        raise OSError("no such name")

    async with serving() as server:
        error = await refusal(fetcher_for(server, resolve=unknown), f"http://a.example:{server.port}/a")
    assert error.reason is MediaRefusal.UNREACHABLE


async def test_a_flood_waits() -> None:
    """No more than `MAX_AT_ONCE` connections at a time, however many images prompts name."""
    async with serving(a=ok()) as server:
        server.pause_s = 0.05
        fetcher = fetcher_for(server, timeout_s=120)
        found = await asyncio.gather(*(fetcher.fetch(f"http://a.example:{server.port}/a") for _ in range(100)))
        assert len(found) == 100
        assert server.most_at_once <= MAX_AT_ONCE


async def test_a_thread_can_fetch_too() -> None:
    """In a thread without an event loop."""
    async with serving(a=ok()) as server:
        fetcher = fetcher_for(server)
        assert await asyncio.to_thread(fetcher.fetch_now, f"http://a.example:{server.port}/a") == PNG


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would look the name up themselves."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with serving(a=ok()) as server:
        assert await fetcher_for(server).fetch(f"http://a.example:{server.port}/a") == PNG
