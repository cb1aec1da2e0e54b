"""An engine that is to repeat the end of a text, and says something else: the client's text stays, and goes on."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from router.http.wire.chunked import LAST_CHUNK, chunk
from tests.engine_contract.served_engine import metric_in
from tests.integration.gateway.running_gateway import ask, request, running_gateway
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, ScriptedReplica

PATH = "/v1/completions"
PROMPT, STOP = "Count: ", "never said!"
SAID = ["eleven ", "thirteen ", "seventeen ", "twenty-three ", "forty ", "fifty "]
ASKED: dict[str, Any] = {
    "model": "m", "prompt": PROMPT, "stop": STOP, "stream": True, "temperature": 0, "max_tokens": 12,
    "stream_options": {"include_usage": True},
}  # fmt: skip


def _events(words: list[str], prompt: int, *, is_whole: bool) -> list[bytes]:
    """Return the events of an engine that says these words, a token each, and holds back what may begin `STOP`."""
    events, text, shown = [], "", 0
    for number, word in enumerate(words, start=1):
        text += word
        is_last = is_whole and number == len(words)
        showable = len(text) if is_last else max(shown, len(text) - len(STOP) + 1)
        choice = {"index": 0, "text": text[shown:showable], "finish_reason": "length" if is_last else None}
        events.append({"id": "x", "choices": [choice], "usage": _usage(prompt, number)})
        shown = showable
    if is_whole:
        events.append({"id": "x", "choices": [], "usage": _usage(prompt, len(words))})
    return [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


class _Forgetful:
    """Says `SAID` and dies; asked to go on within that it says other words, and behind it goes on.

    Attributes:
        prompts: what it was asked to go on after.
    """

    def __init__(self, others: list[str]) -> None:
        self.prompts: list[str] = []
        self._others = others

    async def __call__(self, received: Received, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(received.body)
        begun = asked["prompt"].removeprefix(PROMPT)
        self.prompts.append(begun)
        if not begun and len(self.prompts) == 1:
            events, is_whole = _events(SAID, 3, is_whole=False), False
        else:
            words = self._others if len(self.prompts) == 2 else ["-"] * asked["max_tokens"]
            events, is_whole = _events(words, 3 + len(begun.split()), is_whole=True), True
        writer.write(SSE_HEAD)
        for event in events:
            writer.write(chunk(event))
            await writer.drain()
            await asyncio.sleep(0.005)
        if not is_whole:
            writer.close()
            return
        writer.write(chunk(b"data: [DONE]\n\n") + LAST_CHUNK)


@pytest.mark.parametrize("replicas", [2, 3])
@pytest.mark.parametrize(
    "others",
    [
        ["other "] * 8,  # another word at once
        ["f", "ive "] + ["x "] * 6,  # a word that begins alike
        ["f"],  # its answer ends before what was sent
    ],
)
async def test_an_engine_that_repeats_otherwise_goes_on_behind_the_text(others: list[str], replicas: int) -> None:
    """The client keeps what it has, gets nothing of the other words, and each token within the limit counts once."""
    script = _Forgetful(others)
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(ScriptedReplica(script)) for _ in range(replicas)]
        gateway = await stack.enter_async_context(running_gateway([server.port for server in servers]))
        _, _, body = await ask(gateway.port, request(json.dumps(ASKED).encode(), path=PATH))
        async with httpx.AsyncClient() as client:
            page = (await client.get(f"http://127.0.0.1:{gateway.admin_port}/metrics")).text
        state = gateway.state()
    events = [json.loads(event[6:]) for event in body.split(b"\n\n") if event.startswith(b"data: {")]
    text = "".join(choice["text"] for event in events for choice in event["choices"])
    sent = "".join(SAID)[: 1 - len(STOP)]
    assert script.prompts == ["", "".join(SAID[:4]), sent]
    behind = text.removeprefix(sent)
    assert set(behind) == {"-"}
    assert body.endswith(b"data: [DONE]\n\n")
    # Of the event that was sent in part, the token counts by the share of it that was sent: not at all.
    assert events[-1]["usage"] == _usage(3, 12)
    assert len(behind) == 12 - 4
    assert [row["outcome"] for row in state["outcomes"]] == ["ok"]
    assert all(row["in_flight"] == 0 for row in state["models"]["m"]["replicas"])
    assert metric_in(page, "rackserve_resumed_streams_total") == 1
    assert metric_in(page, "rackserve_retries_total", reason="differed") == 1
    assert metric_in(page, "rackserve_tokens_total", kind="completion") == 12
