"""No one request holds up the others, whatever it is made of: too much work is refused, or left undone."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256

import pytest

from cluster.spec.model_spec import ModelSpec
from tests.integration.gateway.running_gateway import read_response, request, running_gateway
from tests.integration.gateway.scripted_replica import Received, ScriptedReplica, plain
from tests.machine_speed import slowness

READS = ModelSpec(name="m", engine="sim", policy="expected_ttft")
"""A model whose policy looks at prompts."""
TENANTS = [{"name": "t", "key_sha256": sha256(b"k").hexdigest(), "models": ["m"], "cache_salt": "s"}]
KEY = b"authorization: Bearer k\r\n"
FORM = "multipart/form-data; boundary=x"
CHAT, TEXT, AUDIO = "/v1/chat/completions", "/v1/completions", "/v1/audio/transcriptions"
FIELD = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n'
MODEL = FIELD % b"model" + b"m\r\n"
MOST_S = 0.5
"""Seconds that one request may hold the loop in this test, where the gateway runs interpreted and shares the loop with
the client and the replica, which read and write the same 30 MB."""


def chat(inner: bytes) -> bytes:
    """Return a chat's body with more members."""
    return b'{"model":"m",%s}' % inner


def messages(inner: bytes) -> bytes:
    """Return a chat's body with these messages."""
    return chat(b'"messages":[%s]' % inner)


REFUSED: dict[str, Callable[[], tuple[str, bytes, str, int]]] = {
    "many messages": lambda: (CHAT, messages(b'{"role":""},' * 2_600_000 + b'{"role":""}'), "", 413),
    "many tools": lambda: (CHAT, chat(b'"messages":[],"tools":[' + b'{"a":1},' * 3_800_000 + b"1]"), "", 413),
    "many parts of a message": lambda: (
        CHAT,
        messages(b'{"role":"user","content":[' + b'{"text":""},' * 2_400_000 + b'""]}'),
        "",
        413,
    ),
    "many numbers": lambda: (CHAT, chat(b'"messages":[],"stream":[' + b"1," * 15_000_000 + b"1]"), "", 413),
    "many members": lambda: (CHAT, chat(b'"messages":[],"logit_bias":{' + b'"":1,' * 6_000_000 + b'"":1}'), "", 413),
    "many stop texts": lambda: (CHAT, chat(b'"messages":[],"stop":[' + b'"",' * 10_000_000 + b'""]'), "", 413),
    "many inputs": lambda: ("/v1/embeddings", chat(b'"input":[' + b'"",' * 10_000_000 + b'""]'), "", 413),
    "many documents": lambda: ("/rerank", chat(b'"query":"","documents":[' + b'"",' * 10_000_000 + b'""]'), "", 413),
    "many values by SageMaker's path": lambda: (
        "/invocations",
        chat(b'"prompt":[' + b"[]," * 10_000_000 + b"[]]"),
        "",
        413,
    ),
    "nothing but space": lambda: (CHAT, b'{"model":"m","messages":[]' + b" " * 30_000_000 + b"}", "", 413),
    "many token ids": lambda: (TEXT, chat(b'"prompt":[' + b"1," * 15_000_000 + b"1]"), "", 413),
    "deep": lambda: (CHAT, messages(b"[" * 15_000_000 + b"]" * 15_000_000), "", 413),
    "brackets that nothing closes": lambda: (CHAT, b"[" * 30_000_000, "", 413),
    "a long model": lambda: (CHAT, b'{"model":"%s"}' % (b"m" * 30_000_000), "", 400),
    "a long salt": lambda: (CHAT, chat(b'"cache_salt":"%s"' % (b"m" * 30_000_000)), "", 400),
    "many parts of a form": lambda: (AUDIO, b"--x\r\n\r\n\r\n" * 3_400_000 + b"--x--\r\n", FORM, 400),
    "many good parts": lambda: (AUDIO, (FIELD % b"a" + b"\r\n") * 600_000 + b"--x--\r\n", FORM, 400),
    "what looks like boundaries": lambda: (
        AUDIO,
        MODEL + FIELD % b"a" + b"\r\n--xa" * 5_000_000 + b"\r\n--x--\r\n",
        FORM,
        400,
    ),
    "a padded boundary": lambda: (AUDIO, MODEL + FIELD % b"a" + b"\r\n--x" + b" " * 30_000_000 + b"\r\n", FORM, 400),
    "a long header of a part": lambda: (
        AUDIO,
        b"--x\r\nContent-Disposition: form-data;%s" % (b" " * 30_000_000),
        FORM,
        400,
    ),
    "spaces in the content-type": lambda: (AUDIO, MODEL + b"--x--\r\n", FORM + " " * 50_000 + "x", 400),
    "parameters in the content-type": lambda: (AUDIO, MODEL + b"--x--\r\n", FORM + "; a=b" * 10_000 + '; "', 400),
    "a long number": lambda: (CHAT, chat(b'"messages":[],"max_tokens":' + b"1" * 30_000_000), "", 413),
}
TAKEN: dict[str, Callable[[], tuple[str, bytes, str]]] = {
    "one long text": lambda: (CHAT, messages(b'{"role":"user","content":"%s"}' % (b"word " * 6_000_000)), ""),
    "text with marks": lambda: (CHAT, messages(b'{"role":"user","content":"%s"}' % (b"{[,:]} " * 4_000_000)), ""),
    "a long prompt": lambda: (TEXT, chat(b'"prompt":"%s"' % (b"word " * 6_000_000)), ""),
    "a large photo": lambda: (
        CHAT,
        messages(
            b'{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}}]}'
            % (b"iVBORw0K" * 3_700_000)
        ),
        "",
    ),
    "many photos": lambda: (
        CHAT,
        messages(
            b",".join(
                b'{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}}]}'
                % (b"iVBORw0K" * 100_000)
                for _ in range(36)
            )
        ),
        "",
    ),
    "a long recording": lambda: (AUDIO, MODEL + FIELD % b"file" + b"\r\n-\0x" * 6_000_000 + b"\r\n--x--\r\n", FORM),
    "thousands of calls": lambda: (
        CHAT,
        messages(
            b",".join(
                b'{"role":"assistant","content":null,"tool_calls":[{"id":"c%d","type":"function","function":{"name":"f",'
                b'"arguments":"{}"}}]},{"role":"tool","tool_call_id":"c%d","content":"done"}' % (number, number)
                for number in range(2500)
            )
        ),
        "",
    ),
    "many tools": lambda: (
        CHAT,
        chat(
            b'"messages":[{"role":"user","content":"hi"}],"tools":[%s]'
            % b",".join(
                b'{"type":"function","function":{"name":"f%d","parameters":{"a":{"type":"string"}}}}' % number
                for number in range(3000)
            )
        ),
        "",
    ),
    "many token ids": lambda: (
        TEXT,
        chat(b'"prompt":[%s]' % b",".join(b"%d" % number for number in range(100_000))),
        "",
    ),
}


async def _ok(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(plain(b'{"fine":true}'))


class LongestBlock:
    """Measures the longest time, in seconds, for which the running loop did nothing else."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def measure(self) -> None:
        """Go on until cancelled."""
        while True:
            began_s = time.perf_counter()
            await asyncio.sleep(0.001)
            self.seconds = max(self.seconds, time.perf_counter() - began_s)


@asynccontextmanager
async def asked(path: str, body: bytes, kind: str, *, count: int = 1) -> AsyncIterator[list[tuple[int, bytes]]]:
    """Send a body to a gateway that reads prompts; yields the answers' status and body. Fails if the loop was held."""
    raw = request(body, path=path, headers=KEY)
    if kind:
        raw = raw.replace(b"application/json", kind.encode(), 1)
    block = LongestBlock()
    async with (
        ScriptedReplica(_ok) as replica,
        running_gateway(
            [replica.port], models=[READS], tenants=TENANTS, max_body_bytes=64 << 20, max_header_bytes=1 << 20
        ) as gateway,
    ):
        watch = asyncio.ensure_future(block.measure())
        answers = []
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            for start in range(0, len(raw), 1 << 18):
                writer.write(raw[start : start + (1 << 18)])
                await writer.drain()
            async with asyncio.timeout(30):
                status, _, said = await read_response(reader)
            answers.append((status, said))
            writer.close()
        watch.cancel()
        yield answers
    assert block.seconds < MOST_S * slowness(), f"the loop was held for {block.seconds:.2f} s"


@pytest.mark.parametrize("case", REFUSED)
async def test_too_much_work_is_refused_in_a_moment(case: str) -> None:
    """Legal sizes, made of very many or very odd parts: a clear 400 or 413, and the loop goes on."""
    path, body, kind, right = REFUSED[case]()
    async with asked(path, body, kind) as ((status, said),):
        assert status == right
        assert len(json.loads(said)["error"]["message"]) > 10


@pytest.mark.parametrize("case", TAKEN)
async def test_honest_large_requests_are_taken_in_a_moment(case: str) -> None:
    """Long texts, photos, recordings and long sessions go through, and hold nobody up either."""
    path, body, kind = TAKEN[case]()
    async with asked(path, body, kind) as ((status, _),):
        assert status == 200
