"""What a request leaves in memory: nothing that would have to wait for Python's search for cycles."""

import asyncio
import gc

import pytest

from router.http.exchange.exchange import Exchange
from router.http.exchange.passed_stream import PassedStream
from router.http.exchange.relayed_answer import RelayedAnswer
from router.http.wire.chunked import LAST_CHUNK, chunk
from tests.integration.gateway.running_gateway import ask, request, running_gateway
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, ScriptedReplica, plain

STREAMED = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"go"}]%s}'


async def _answer(received: Received, writer: asyncio.StreamWriter) -> None:
    if b'"stream":true' not in received.body:
        writer.write(plain(b'{"usage":{"prompt_tokens":3,"completion_tokens":1}}'))
        return
    writer.write(SSE_HEAD + chunk(b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'))
    await writer.drain()
    await asyncio.sleep(0.01)
    writer.write(chunk(b"data: [DONE]\n\n") + LAST_CHUNK)


@pytest.mark.parametrize(
    "raw",
    [
        request(),
        request(STREAMED % b""),
        request(STREAMED % b',"max_tokens":9'),
        request(STREAMED % b',"stream_options":{"include_usage":true}'),
    ],
    ids=["whole", "stream", "stream with a limit", "stream with usage"],
)
async def test_an_answered_request_is_freed_at_once(raw: bytes) -> None:
    """With the search for cycles off, nothing of ten answered requests is left."""
    async with ScriptedReplica(_answer) as replica, running_gateway([replica.port]) as gateway:
        gc.collect()
        gc.disable()
        try:
            for _ in range(10):
                assert (await ask(gateway.port, raw))[0] == 200
            await asyncio.sleep(0.05)
            kinds = Exchange, RelayedAnswer, PassedStream
            assert [thing for thing in gc.get_objects() if isinstance(thing, kinds)] == []
        finally:
            gc.enable()
