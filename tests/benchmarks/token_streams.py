"""Closed-loop streams of a real model: how many tokens a second come out, and when."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import uvloop

from tests.benchmarks.chat_prompts import ChatPrompts

_DATA = b"data: "
_DONE = b"[DONE]"
_LAST_CHUNK = b"0\r\n"


class BrokenStreamError(Exception):
    """A stream was refused, cut, or did not have the tokens asked for; the message shows what came."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server that speaks OpenAI's API.

    Attributes:
        host: its address.
        port: its port.
        bearer: the token it wants.
        model: the model to ask for.
    """

    host: str
    port: int
    bearer: str
    model: str


@dataclass(frozen=True, slots=True)
class StreamLoad:
    """What to send.

    Attributes:
        requests: how many.
        streams: how many at a time.
        tokens: length of each answer; the model is not let stop earlier.
        words: words of each prompt.
        seed: of the prompts; another seed shares only system prompts.
    """

    requests: int
    streams: int
    tokens: int
    words: int
    seed: int


@dataclass(slots=True)
class TokensSeen:
    """What came back.

    Attributes:
        tokens: generated tokens, as the engine counted.
        wall_s: from the first request to the last token.
        ttft_s: time to the first token, one a request.
    """

    tokens: int = 0
    wall_s: float = 0.0
    ttft_s: list[float] = field(default_factory=list)

    @property
    def tokens_per_s(self) -> float:
        """Tokens a second over all streams."""
        return self.tokens / self.wall_s


class _Usage(msgspec.Struct):
    completion_tokens: int


class _Event(msgspec.Struct):
    choices: list[msgspec.Raw] = []
    usage: _Usage | None = None


def stream_tokens(target: Target, load: StreamLoad) -> TokensSeen:
    """Send a load and return what came back.

    Raises:
        BrokenStreamError: an answer was not complete; there is no figure then.
    """
    return uvloop.run(_all_streams(target, load))


async def _all_streams(target: Target, load: StreamLoad) -> TokensSeen:
    seen = TokensSeen()
    prompts = ChatPrompts(load.words, load.seed).messages(load.requests)
    began_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for first in range(load.streams):
            group.create_task(_one_after_another(target, prompts[first :: load.streams], load.tokens, seen))
    seen.wall_s = time.perf_counter() - began_s
    return seen


async def _one_after_another(target: Target, prompts: Sequence[bytes], tokens: int, seen: TokensSeen) -> None:
    """Send prompts over one keep-alive connection, each when the one before is answered."""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        for messages in prompts:
            body = (
                b'{"model":"%b","messages":%b,"stream":true,"stream_options":{"include_usage":true},'
                b'"temperature":0.0,"ignore_eos":true,"max_tokens":%d}' % (target.model.encode(), messages, tokens)
            )
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: %b:%d\r\nauthorization: Bearer %b\r\n"
                b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (target.host.encode(), target.port, target.bearer.encode(), len(body), body)
            )
            await _answer(reader, tokens, seen)
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader, tokens: int, seen: TokensSeen) -> None:
    sent_s = time.perf_counter()
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise BrokenStreamError(f"{head.decode('latin-1')}{(await reader.read(2000)).decode(errors='replace')}")
    generated = 0
    is_first = True
    while (line := await reader.readline()) != _LAST_CHUNK:
        if not line:
            raise BrokenStreamError(f"the stream was cut after {generated} of {tokens} tokens")
        if not line.startswith(_DATA) or line[len(_DATA) :].startswith(_DONE):
            continue
        event = msgspec.json.decode(line[len(_DATA) :], type=_Event)
        if is_first and event.choices:
            seen.ttft_s.append(time.perf_counter() - sent_s)
            is_first = False
        if event.usage is not None:
            generated = event.usage.completion_tokens
    await reader.readline()
    if generated != tokens:
        raise BrokenStreamError(f"{generated} tokens came where {tokens} were asked for")
    seen.tokens += generated
