"""The data-parallel rank that a request names, on its way to vLLM."""

import asyncio

import pytest

from deployments.engines.interface import Receive, Scope, Send
from deployments.engines.vllm.ranks.asked_rank import ASKED_RANK, AskedRanks


@pytest.mark.parametrize(
    ("value", "rank"), [(b"0", 0), (b"3", 3), (b"first", None), (b"-1", None), (b"", None), (None, None)]
)
async def test_the_rank_is_known_where_the_request_is_taken(value: bytes | None, rank: int | None) -> None:
    """Also in a task that the app starts, of any kind of request; what is no number counts as none."""
    seen: list[int | None] = []

    async def take() -> None:
        seen.append(ASKED_RANK.get())

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await take()
        await asyncio.create_task(take())

    async def receive() -> Scope:
        raise AssertionError("nothing is read here")

    async def send(_message: Scope) -> None:
        raise AssertionError("nothing is sent here")

    headers = [] if value is None else [(b"x-data-parallel-rank", value)]
    for kind in ("http", "websocket"):
        await AskedRanks(app)({"type": kind, "headers": headers}, receive, send)
    assert seen == [rank] * 4
    assert ASKED_RANK.get() is None
    await AskedRanks(app)({"type": "lifespan"}, receive, send)
    assert seen[4:] == [None] * 2
