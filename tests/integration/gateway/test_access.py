"""How requests reach a server that is not one of the cluster's own: TLS, a path before the API's, its own key."""

import asyncio
from pathlib import Path

import pytest

from router.http.data_plane.replica_route import ReplicaRoute
from router.http.wire.upstream.upstream import UpstreamPool
from router.replicas.access import Access
from router.replicas.endpoint import Endpoint
from tests.integration.gateway.certificates import CertificateAuthority
from tests.integration.gateway.running_gateway import ask, request, running_gateway
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, ScriptedReplica, plain


async def _answer(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(plain(b'{"ok":true}'))


async def _answer_and_close(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(plain(b'{"ok":true}', extra=b"connection: close\r\n"))


def at(replica: ScriptedReplica, access: Access, host: str = "127.0.0.1") -> list[Endpoint]:
    """Return a view of one replica that is reached by `access`."""
    return [Endpoint("r", "m", host, replica.port, access=access)]


async def test_a_server_behind_tls_answers_and_streams(tmp_path: Path) -> None:
    """Its certificate is checked by the given authority; connections are pooled; every chunk of a stream arrives."""

    async def stream(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD)
        for number in range(50):
            chunk = b"data: %d %s\n\n" % (number, b"x" * 5000)
            writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    authority = CertificateAuthority(tmp_path)
    access = Access(uses_tls=True, ca_file=str(authority.ca_file))
    async with (
        ScriptedReplica(stream, tls=authority.server_context("127.0.0.1")) as replica,
        running_gateway([], endpoints=at(replica, access)) as gateway,
    ):
        for _ in range(3):
            status, _, body = await ask(gateway.port, request())
            assert status == 200
            assert [int(line.split()[1]) for line in body.splitlines() if line] == list(range(50))
        assert replica.connections == 1


async def test_the_server_is_asked_by_its_name(tmp_path: Path) -> None:
    """SNI, the certificate's check and `host` use the server's name, whatever address it is reached at."""
    authority = CertificateAuthority(tmp_path)
    context = authority.server_context("llm.example")
    asked: list[str | None] = []
    context.sni_callback = lambda _ssl, name, _context: asked.append(name)
    access = Access(uses_tls=True, ca_file=str(authority.ca_file), server_name="llm.example")
    async with (
        ScriptedReplica(_answer, tls=context) as replica,
        running_gateway([], endpoints=at(replica, access)) as gateway,
    ):
        assert (await ask(gateway.port, request()))[0] == 200
        assert asked == ["llm.example"]
        assert replica.received[0].header("host") == f"llm.example:{replica.port}"


async def test_sessions_are_used_again(tmp_path: Path) -> None:
    """A new connection to a known server resumes the last session in place of a full handshake."""
    authority = CertificateAuthority(tmp_path)
    resumed: list[bool] = []

    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        resumed.append(writer.get_extra_info("ssl_object").session_reused)
        await _answer_and_close(_, writer)

    access = Access(uses_tls=True, ca_file=str(authority.ca_file))
    context = authority.server_context("127.0.0.1")
    async with (
        ScriptedReplica(answer, tls=context) as replica,
        running_gateway([], endpoints=at(replica, access)) as gateway,
    ):
        for _ in range(3):
            assert (await ask(gateway.port, request()))[0] == 200
    assert resumed == [False, True, True]


@pytest.mark.parametrize("wrong", ["another authority", "another name", "the system's authorities"])
async def test_a_server_with_a_wrong_certificate_gets_no_request(tmp_path: Path, wrong: str) -> None:
    """Nothing is sent to a server that cannot show who it is; the client is told that it could not be reached."""
    authority = CertificateAuthority(tmp_path)
    trusted = CertificateAuthority(tmp_path, "other") if wrong == "another authority" else authority
    ca_file = "" if wrong == "the system's authorities" else str(trusted.ca_file)
    context = authority.server_context("else.example" if wrong == "another name" else "127.0.0.1")
    access = Access(uses_tls=True, ca_file=ca_file)
    async with (
        ScriptedReplica(_answer, tls=context) as replica,
        running_gateway([], endpoints=at(replica, access)) as gateway,
    ):
        assert (await ask(gateway.port, request()))[0] == 502
        assert not replica.received


async def test_a_prefix_stands_before_the_path() -> None:
    """The API of a server may begin at any path; the query stays behind it."""
    async with (
        ScriptedReplica(_answer) as replica,
        running_gateway([], endpoints=at(replica, Access(path_prefix="/team/openai"))) as gateway,
    ):
        assert (await ask(gateway.port, request(path="/v1/completions?x=1")))[0] == 200
        assert replica.received[0].head.startswith(b"POST /team/openai/v1/completions?x=1 HTTP/1.1\r\n")


async def test_each_server_gets_its_own_key() -> None:
    """A server's key goes to that server alone; the others get the gateway's."""
    async with ScriptedReplica(_answer) as own, ScriptedReplica(_answer) as other:
        view = [
            Endpoint("a", "m", "127.0.0.1", own.port, access=Access(key="sk-own")),
            Endpoint("b", "m", "127.0.0.1", other.port),
        ]
        async with running_gateway([], endpoints=view, credential="sk-all") as gateway:
            for _ in range(2):
                await ask(gateway.port, request(headers=b"authorization: Bearer sk-client\r\n"))
        assert own.received[0].header("authorization") == "Bearer sk-own"
        assert other.received[0].header("authorization") == "Bearer sk-all"


@pytest.mark.parametrize("name", ["authorization", "x-api-key"])
async def test_a_clients_own_key_is_passed_on_where_asked(name: str) -> None:
    """With `passes_authorization` a server gets the client's key as sent, and never the gateway's."""
    async with (
        ScriptedReplica(_answer) as replica,
        running_gateway(
            [], endpoints=at(replica, Access(key="sk-poll", passes_authorization=True)), credential="sk-all"
        ) as gateway,
    ):
        await ask(gateway.port, request(headers=b"%s: Bearer sk-client\r\n" % name.encode()))
        await ask(gateway.port, request())
    assert replica.received[0].header(name) == "Bearer sk-client"
    assert replica.received[1].header("authorization") is None


async def test_a_changed_key_is_used_from_the_next_request_on() -> None:
    """A server whose key changes stays the same server, with the new key and prefix."""
    async with (
        ScriptedReplica(_answer) as replica,
        running_gateway([], endpoints=at(replica, Access(key="sk-old"))) as gateway,
    ):
        await ask(gateway.port, request())
        gateway.apply_view(at(replica, Access(key="sk-new", path_prefix="/x")))
        await ask(gateway.port, request())
    assert [each.header("authorization") for each in replica.received] == ["Bearer sk-old", "Bearer sk-new"]
    assert replica.received[1].head.startswith(b"POST /x/v1/")


@pytest.mark.parametrize(
    ("host", "port", "access", "wanted"),
    [
        ("10.0.0.1", 80, Access(), "10.0.0.1"),
        ("10.0.0.1", 8000, Access(), "10.0.0.1:8000"),
        ("::1", 8000, Access(), "[::1]:8000"),
        ("10.0.0.1", 443, Access(uses_tls=True, server_name="a.example"), "a.example"),
        ("10.0.0.1", 80, Access(uses_tls=True, server_name="a.example"), "a.example:80"),
    ],
)
def test_host_leaves_out_the_schemes_own_port(host: str, port: int, access: Access, wanted: str) -> None:
    """`host` is what a browser would send: virtual servers are often chosen by it."""
    pool = UpstreamPool(Endpoint("r", "m", host, port, access=access), 1.0, 1.0)
    route = ReplicaRoute.to(pool, gateway_id="g", credential="", forward_headers=())
    assert f"host: {wanted}\r\n".encode() in route.head_end
