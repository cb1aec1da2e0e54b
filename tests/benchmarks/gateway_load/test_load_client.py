"""The load client tells a wrong answer from a right one: without that no figure of a benchmark means anything."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from tests.benchmarks.gateway_load.engine_answers import HEAD_STREAM, StreamAnswer, json_response, plain_body
from tests.benchmarks.gateway_load.engine_usage import EngineUsage, contents_of, tokens_of
from tests.benchmarks.gateway_load.load_client import LoadRun
from tests.benchmarks.load_plan import LoadPlan, LoadSeen

Answer = Callable[[bytes, int], bytes]
"""Returns an answer, given the request's tag and the tokens of its prompt."""
Load = Callable[[Answer, LoadPlan], "asyncio.Future[LoadSeen]"]


@pytest.fixture
async def load() -> AsyncIterator[Load]:
    """Send a plan's load to a server that answers each request's tag with given bytes."""
    servers: list[asyncio.Server] = []

    async def run(answer: Answer, plan: LoadPlan) -> LoadSeen:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                    body = await reader.readexactly(length)
                    tag = body.split(b'"user":"')[1].split(b'"')[0]
                    # The head in a read of its own, as it often comes.
                    head, _, rest = answer(tag, tokens_of(contents_of(body)[0])).partition(b"\r\n\r\n")
                    writer.write(head + b"\r\n\r\n")
                    await asyncio.sleep(0.001)
                    writer.write(rest)
            except asyncio.IncompleteReadError:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        servers.append(server)
        port = server.sockets[0].getsockname()[1]
        fields = {name: getattr(plan, name) for name in plan.__struct_fields__}
        return await LoadRun(LoadPlan(**(fields | {"port": port})), asyncio.get_running_loop()).carry_out()

    yield lambda answer, plan: asyncio.ensure_future(run(answer, plan))
    for server in servers:
        server.close()
        await server.wait_closed()


STREAM = StreamAnswer(3)


def _stream(tag: bytes, _: int) -> bytes:
    return HEAD_STREAM + b"".join(STREAM.chunk(i, tag) for i in range(3))


def _head_ends_in_zero(tag: bytes, tokens: int) -> bytes:
    return _stream(tag, tokens).replace(b"server: uvicorn\r\n", b"").replace(b"\r\n\r\n", b"\r\nretries: 0\r\n\r\n", 1)


def _told_and_hidden(tag: bytes, tokens: int) -> bytes:
    hidden = STREAM.chunk(1, tag)[4:-2].replace(b"}\n\n", b',"usage":null       }\n\n')
    chunks = [STREAM.chunk(0, tag), b"%x\r\n%b\r\n" % (len(hidden), hidden), STREAM.chunk(2, tag)]
    assert tokens > 1
    return HEAD_STREAM + b"".join(chunks)


def _plain(tag: bytes, tokens: int) -> bytes:
    return json_response(plain_body(tag, EngineUsage(tokens, 16)))


async def test_right_answers_count(load: Load) -> None:
    """Answers that are what the engine sends are counted, streamed ones with their chunks; nothing is an error."""
    plain = await load(_plain, LoadPlan(port=0, requests=20, connections=3))
    assert (plain.answered, plain.errors, len(plain.latency_us)) == (20, 0, 201)
    paced = await load(_plain, LoadPlan(port=0, requests=20, connections=3, rate_per_s=2000))
    assert (paced.answered, paced.errors) == (20, 0)


@pytest.mark.parametrize("answer", [_stream, _head_ends_in_zero, _told_and_hidden])
async def test_right_streams_count(load: Load, answer: Answer) -> None:
    """A stream ends where its body does, though its head ends in `0`, too; usage told and hidden is no error."""
    streamed = await load(answer, LoadPlan(port=0, requests=10, connections=2, chunks=3))
    assert (streamed.answered, streamed.errors, streamed.chunks) == (10, 0, 30)


@pytest.mark.parametrize(
    ("wrong", "chunks"),
    [
        pytest.param(lambda _, tokens: _plain(b"somebody else", tokens), 0, id="another request's answer"),
        pytest.param(lambda tag, tokens: _plain(tag, tokens + 1), 0, id="another prompt's usage"),
        pytest.param(
            lambda tag, tokens: json_response(plain_body(tag, EngineUsage(tokens, 0))[:-1]), 0, id="a byte short"
        ),
        pytest.param(
            lambda tag, tokens: json_response(plain_body(tag, EngineUsage(tokens, 0)), b"503 Busy"), 0, id="a refusal"
        ),
        pytest.param(_plain, 3, id="no stream"),
        pytest.param(lambda tag, tokens: _stream(tag, tokens).replace(b" rack", b" tack"), 3, id="a changed token"),
        pytest.param(
            lambda tag, _: HEAD_STREAM + b"".join(STREAM.chunk(i, tag) for i in (1, 0, 2)), 3, id="swapped chunks"
        ),
        pytest.param(
            lambda tag, _: HEAD_STREAM + b"".join(STREAM.chunk(i, tag) for i in (0, 0, 1, 2)), 3, id="a chunk twice"
        ),
        pytest.param(lambda tag, _: HEAD_STREAM + b"".join(STREAM.chunk(i, tag) for i in (0, 2)), 3, id="a chunk lost"),
    ],
)
async def test_wrong_answers_are_errors(load: Load, wrong: Answer, chunks: int) -> None:
    """Whatever a gateway might do to an answer is seen."""
    seen = await load(wrong, LoadPlan(port=0, requests=4, connections=2, chunks=chunks))
    assert (seen.answered, seen.errors) == (0, 4)
    assert seen.error_samples
