"""Inference engines that answer at once, in one process: `python -m tests.benchmarks.gateway_load.mock_engine`.

Each `--port` is an engine of its own that remembers the prompts it was sent. They have to cost much less than the
gateways in front of them, so they read requests with a few searches instead of a parser and answer from prepared bytes.
What they do keep is the shape of vLLM's traffic: the head of a stream is written when the request arrives, then every
engine step writes one chunk to each running stream.

`/tokenize` and the absence of `/render` are vLLM 0.32's defaults (`enable_scale_out` is off), which matters to
`vllm-router --policy cache_aware`: it asks the worker to render, then to tokenize each prompt before it routes it.
"""

import argparse
import asyncio
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

import uvloop

from tests.benchmarks.gateway_load.engine_answers import HEAD_STREAM, MODEL, StreamAnswer, json_response, plain_body
from tests.benchmarks.gateway_load.engine_steps import Steps
from tests.benchmarks.gateway_load.engine_usage import BYTES_PER_TOKEN, PromptMemory, contents_of, tokens_of

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_MAX_TOKENS = re.compile(rb'"max_tokens": ?(\d+)')
_USER = re.compile(rb'"user": ?"([^"]*)"')
_STREAM = re.compile(rb'"stream": ?true')
_TELLS_USAGE = re.compile(rb'"continuous_usage_stats": ?true')
_MODELS = b'{"object":"list","data":[{"id":"%b","object":"model","owned_by":"%b"}]}'
_EMPTY = json_response(b"")
_NOT_FOUND = json_response(b'{"detail":"Not Found"}', b"404 Not Found")
_NEEDS_LENGTH = json_response(b'{"detail":"the mock engine needs a Content-Length"}', b"411 Length Required")


class PromptApi(StrEnum):
    """Which of vLLM's endpoints that turn a prompt into tokens the engine has."""

    TOKENIZE = "tokenize"
    RENDER = "render"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class EngineKind:
    """How an engine presents itself.

    Attributes:
        prompt_api: which endpoints that turn a prompt into tokens it has.
        owned_by: what `/v1/models` says of who serves the model; our gateway asks `vllm` to tell usage in streams.
    """

    prompt_api: PromptApi = PromptApi.TOKENIZE
    owned_by: str = "bench"

    def arguments(self) -> list[str]:
        """Return it as arguments of this program."""
        return ["--prompt-api", self.prompt_api, "--owned-by", self.owned_by]


class EngineConnection(asyncio.Protocol):
    """One connection of a gateway. Serves one request after another; a gateway does not pipeline to an engine."""

    transport: asyncio.Transport
    paused = False

    def __init__(self, steps: Steps, answers: dict[int, StreamAnswer], kind: EngineKind, memory: PromptMemory) -> None:
        self._steps = steps
        self._answers = answers
        self._kind = kind
        self._memory = memory
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop registers no ABC

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the stream, as vLLM aborts a request whose client has left."""
        del exc
        self._steps.drop(self)

    def pause_writing(self) -> None:
        """The gateway reads slower than the engine writes: the stream skips steps."""
        self.paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self.paused = False

    def data_received(self, data: bytes) -> None:
        """Answer each request that has arrived whole."""
        buffer = self._buffer + data if self._buffer else data
        while buffer:
            head_end = buffer.find(b"\r\n\r\n")
            if head_end < 0:
                break
            length = _LENGTH.search(buffer, 0, head_end)
            body_at = head_end + 4
            request_end = body_at + (int(length[1]) if length else 0)
            if len(buffer) < request_end:
                break
            self._answer(buffer[:head_end], buffer[body_at:request_end], known_length=length is not None)
            buffer = buffer[request_end:]
        self._buffer = buffer

    def _answer(self, head: bytes, body: bytes, *, known_length: bool) -> None:
        write = self.transport.write
        if head.startswith(b"POST /v1/chat/completions "):
            if not known_length:
                write(_NEEDS_LENGTH)
                self.transport.close()
                return
            self._answer_chat(body)
        elif head.startswith(b"GET /v1/models "):
            write(json_response(_MODELS % (MODEL.encode(), self._kind.owned_by.encode())))
        elif head.startswith(b"GET /health "):
            write(_EMPTY)
        elif head.startswith(b"POST /tokenize ") and self._kind.prompt_api is not PromptApi.NONE:
            write(json_response(_tokenized(contents_of(body)[0], b"tokens")))
        elif head.startswith(b"POST /v1/chat/completions/render ") and self._kind.prompt_api is PromptApi.RENDER:
            write(json_response(_tokenized(contents_of(body)[0], b"token_ids")))
        else:
            write(_NOT_FOUND)

    def _answer_chat(self, body: bytes) -> None:
        contents, options = contents_of(body)
        usage = self._memory.usage_of(contents)
        user = _USER.search(options)
        tag = user[1] if user else b"untagged"
        if _STREAM.search(options):
            self.transport.write(HEAD_STREAM)
            told = usage.prompt_tokens if _TELLS_USAGE.search(options) else 0
            self._steps.start(self, self._stream_answer(options), tag, told)
        else:
            self.transport.write(json_response(plain_body(tag, usage)))

    def _stream_answer(self, options: bytes) -> StreamAnswer:
        asked = _MAX_TOKENS.search(options)
        chunks = int(asked[1]) if asked else 16
        answer = self._answers.get(chunks)
        if answer is None:
            answer = self._answers[chunks] = StreamAnswer(chunks)
        return answer


def _tokenized(contents: list[bytes], key: bytes) -> bytes:
    """Return token ids that equal prompts and equal prefixes share; each is one byte of the text."""
    tokens = list(b"".join(contents)[::BYTES_PER_TOKEN])[: tokens_of(contents)]
    return b'{"count":%d,"max_model_len":131072,"%b":%b,"token_strs":null}' % (len(tokens), key, repr(tokens).encode())


async def serve(ports: Sequence[int], step_ms: int, kind: EngineKind, *, burst: bool) -> None:
    """Serve on loopback until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    answers: dict[int, StreamAnswer] = {}
    # Backwards: who finds the first port open finds all of them.
    servers = [await _engine(port, step_ms, kind, answers, burst=burst) for port in reversed(ports)]
    await stopped.wait()
    for server in servers:
        server.close()


async def _engine(
    port: int, step_ms: int, kind: EngineKind, answers: dict[int, StreamAnswer], *, burst: bool
) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    steps, memory = Steps(loop, step_ms, burst=burst), PromptMemory()
    return await loop.create_server(
        lambda: EngineConnection(steps, answers, kind, memory), "127.0.0.1", port, backlog=1024
    )


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, action="append", required=True, help="once for each engine")
    parser.add_argument("--step-ms", type=int, default=0, help="time between two chunks of a stream")
    parser.add_argument("--burst", action="store_true", help="write the chunks of a step back to back")
    parser.add_argument("--prompt-api", type=PromptApi, choices=list(PromptApi), default=PromptApi.TOKENIZE)
    parser.add_argument("--owned-by", default="bench", help="what /v1/models says of who serves the model")
    options = parser.parse_args()
    kind = EngineKind(options.prompt_api, options.owned_by)
    uvloop.run(serve(options.port, options.step_ms, kind, burst=options.burst))


if __name__ == "__main__":
    main()
