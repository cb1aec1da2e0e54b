"""The load client tells a wrong answer from a right one: without that no figure of a benchmark means anything."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from tests.benchmarks.engine_answers import HEAD_STREAM, StreamAnswer, json_response, plain_body
from tests.benchmarks.load_client import LoadRun
from tests.benchmarks.load_plan import LoadPlan, LoadSeen

Answer = Callable[[bytes], bytes]
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
                    writer.write(answer(tag))
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


def _stream(tag: bytes) -> bytes:
    return HEAD_STREAM + b"".join(STREAM.chunk(i, tag) for i in range(3))


async def test_right_answers_count(load: Load) -> None:
    """Answers that are what the engine sends are counted, streamed ones with their chunks; nothing is an error."""
    plain = await load(lambda tag: json_response(plain_body(tag)), LoadPlan(port=0, requests=20, connections=3))
    assert (plain.answered, plain.errors, len(plain.latency_us)) == (20, 0, 201)
    streamed = await load(_stream, LoadPlan(port=0, requests=10, connections=2, chunks=3))
    assert (streamed.answered, streamed.errors, streamed.chunks) == (10, 0, 30)
    paced = await load(
        lambda tag: json_response(plain_body(tag)), LoadPlan(port=0, requests=20, connections=3, rate_per_s=2000)
    )
    assert (paced.answered, paced.errors) == (20, 0)


@pytest.mark.parametrize(
    ("wrong", "chunks"),
    [
        pytest.param(lambda _: json_response(plain_body(b"somebody else")), 0, id="another request's answer"),
        pytest.param(lambda tag: json_response(plain_body(tag)[:-1]), 0, id="a byte short"),
        pytest.param(lambda tag: json_response(plain_body(tag), b"503 Busy"), 0, id="a refusal"),
        pytest.param(lambda tag: _stream(tag).replace(b" rack", b" tack"), 3, id="a changed token"),
        pytest.param(
            lambda tag: HEAD_STREAM + b"".join(STREAM.chunk(i, tag) for i in (1, 0, 2)), 3, id="swapped chunks"
        ),
        pytest.param(
            lambda tag: HEAD_STREAM + b"".join(STREAM.chunk(i, tag) for i in (0, 0, 1, 2)), 3, id="a chunk twice"
        ),
        pytest.param(lambda tag: HEAD_STREAM + b"".join(STREAM.chunk(i, tag) for i in (0, 2)), 3, id="a chunk lost"),
    ],
)
async def test_wrong_answers_are_errors(load: Load, wrong: Answer, chunks: int) -> None:
    """Whatever a gateway might do to an answer is seen."""
    seen = await load(wrong, LoadPlan(port=0, requests=4, connections=2, chunks=chunks))
    assert (seen.answered, seen.errors) == (0, 4)
    assert seen.error_samples
