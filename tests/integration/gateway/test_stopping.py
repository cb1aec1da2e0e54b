"""A gateway that stops loses nobody: connections the kernel took, requests on their way, answers under way."""

import asyncio
import socket

import pytest

from router.http.connection.client_connection import LAST_WORD_S
from tests.integration.gateway.running_gateway import read_response, request, running_gateway
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, ScriptedReplica


async def quick(_: Received, writer: asyncio.StreamWriter) -> None:
    """Answer at once."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


async def test_connections_in_the_listen_queue_are_served() -> None:
    """Connections whose handshake is over when the gateway closes its port are answered, and told to go."""
    async with ScriptedReplica(quick) as replica, running_gateway([replica.port]) as gateway:
        clients = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(40)]
        stopping = asyncio.create_task(gateway.stop(10.0))
        for client in clients:
            reader, writer = await asyncio.open_connection(sock=client)
            writer.write(request())
            async with asyncio.timeout(10):
                status, headers, body = await read_response(reader)
            assert (status, headers["connection"], body) == (200, "close", b"ok")
            writer.close()
        await asyncio.wait_for(stopping, 10)


async def test_an_idle_connection_gets_one_more_answer() -> None:
    """A request that crosses the gateway's stopping on a kept connection is answered; silence ends after a while."""
    async with ScriptedReplica(quick) as replica, running_gateway([replica.port]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        silent, silent_writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request())
        assert (await read_response(reader))[0] == 200
        stopping = asyncio.create_task(gateway.stop(30.0))
        await asyncio.sleep(0.3)
        writer.write(request())
        status, headers, _ = await read_response(reader)
        assert (status, headers["connection"]) == (200, "close")
        async with asyncio.timeout(LAST_WORD_S + 10.0):
            assert await silent.read() == b""
            await stopping
        writer.close()
        silent_writer.close()


async def test_a_connection_promised_to_stay_open_is_kept_for_one_more_request() -> None:
    """An answer under way is completed. It has said keep-alive: the next request on its connection is answered too.

    New connections are refused from then on.
    """
    go_on = asyncio.Event()

    async def slow(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + b"3\r\nabc\r\n")
        await writer.drain()
        await go_on.wait()
        writer.write(b"3\r\ndef\r\n0\r\n\r\n")

    async with ScriptedReplica(slow) as replica, running_gateway([replica.port]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request())
        await reader.readuntil(b"abc\r\n")
        stopping = asyncio.create_task(gateway.stop(30.0))
        await asyncio.sleep(0.05)
        go_on.set()
        assert await reader.readuntil(b"0\r\n\r\n") == b"3\r\ndef\r\n0\r\n\r\n"
        writer.write(request())
        status, headers, _ = await read_response(reader)
        assert (status, headers["connection"]) == (200, "close")
        await asyncio.wait_for(stopping, 10)
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", gateway.port)
