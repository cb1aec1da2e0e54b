"""An inference engine that answers at once, as a process: `python -m tests.benchmarks.mock_engine --port P`.

It has to cost much less than the gateways it stands behind, so it reads requests with three searches instead of a
parser and answers from prepared bytes. What it does keep is the shape of vLLM's traffic: the head of a stream is
written when the request arrives, then every engine step writes one chunk to each running stream.

`/tokenize` and the absence of `/render` are vLLM 0.32's defaults (`enable_scale_out` is off), which matters to
`vllm-router --policy cache_aware`: it asks the worker to render, then to tokenize each prompt before it routes it.
"""

import argparse
import asyncio
import re
import signal
from enum import StrEnum
from typing import cast

import uvloop

from tests.benchmarks.engine_answers import HEAD_STREAM, MODEL, StreamAnswer, json_response, plain_body

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_MAX_TOKENS = re.compile(rb'"max_tokens": ?(\d+)')
_USER = re.compile(rb'"user": ?"([^"]*)"')
_STREAM = re.compile(rb'"stream": ?true')
_MODELS = json_response(b'{"object":"list","data":[{"id":"%b","object":"model","owned_by":"bench"}]}' % MODEL.encode())
_EMPTY = json_response(b"")
_NOT_FOUND = json_response(b'{"detail":"Not Found"}', b"404 Not Found")
_NEEDS_LENGTH = json_response(b'{"detail":"the mock engine needs a Content-Length"}', b"411 Length Required")
_BYTES_PER_TOKEN = 4


class PromptApi(StrEnum):
    """Which of vLLM's endpoints that turn a prompt into tokens the engine has."""

    TOKENIZE = "tokenize"
    RENDER = "render"
    NONE = "none"


class Steps:
    """The engine's step loop: each running stream gets one chunk every `step_ms`.

    vLLM's API process builds and writes the chunks of one step one after another, some 100 microseconds each, so they
    leave spread over the step. Here the step is cut in slots of a millisecond (uvloop's timer resolution) and every
    stream has its slot. With `burst` all chunks of a step are written back to back instead.

    Args:
        loop: the running loop.
        step_ms: time between two chunks of a stream; 0: one chunk to each stream every turn of the loop.
        burst: one slot for all.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, step_ms: int, *, burst: bool) -> None:
        self._loop = loop
        slots = 1 if burst or not step_ms else step_ms
        self._slot_s = step_ms / 1000 / slots
        self._slots: list[dict[EngineConnection, tuple[StreamAnswer, bytes, int]]] = [{} for _ in range(slots)]
        self._turn = 0
        self._next_at = 0.0
        self._ticking = False

    def start(self, connection: "EngineConnection", answer: StreamAnswer, tag: bytes) -> None:
        """Begin a stream; its first chunk comes within a step."""
        min(self._slots, key=len)[connection] = (answer, tag, 0)
        if not self._ticking:
            self._ticking = True
            self._next_at = self._loop.time() + self._slot_s
            self._loop.call_at(self._next_at, self._tick)

    def drop(self, connection: "EngineConnection") -> None:
        """Forget a stream whose connection is gone."""
        for slot in self._slots:
            slot.pop(connection, None)

    def _tick(self) -> None:
        slot = self._slots[self._turn]
        self._turn = (self._turn + 1) % len(self._slots)
        ended = []
        for connection, (answer, tag, index) in slot.items():
            if connection.paused:
                continue
            connection.transport.write(answer.chunk(index, tag))
            if index + 1 == answer.chunks:
                ended.append(connection)
            else:
                slot[connection] = (answer, tag, index + 1)
        for connection in ended:
            del slot[connection]
        self._ticking = any(self._slots)
        if self._ticking and not self._slot_s:
            self._loop.call_soon(self._tick)
        elif self._ticking:
            self._next_at = max(self._next_at + self._slot_s, self._loop.time())
            self._loop.call_at(self._next_at, self._tick)


class EngineConnection(asyncio.Protocol):
    """One connection of a gateway. Serves one request after another; a gateway does not pipeline to an engine."""

    transport: asyncio.Transport
    paused = False

    def __init__(self, steps: Steps, answers: dict[int, StreamAnswer], prompt_api: PromptApi) -> None:
        self._steps = steps
        self._answers = answers
        self._prompt_api = prompt_api
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
            user = _USER.search(body)
            tag = user[1] if user else b"untagged"
            if _STREAM.search(body):
                write(HEAD_STREAM)
                self._steps.start(self, self._stream_answer(body), tag)
            else:
                write(json_response(plain_body(tag)))
        elif head.startswith(b"GET /v1/models "):
            write(_MODELS)
        elif head.startswith(b"GET /health "):
            write(_EMPTY)
        elif head.startswith(b"POST /tokenize ") and self._prompt_api is not PromptApi.NONE:
            write(json_response(_tokenized(body, b"tokens")))
        elif head.startswith(b"POST /v1/chat/completions/render ") and self._prompt_api is PromptApi.RENDER:
            write(json_response(_tokenized(body, b"token_ids")))
        else:
            write(_NOT_FOUND)

    def _stream_answer(self, body: bytes) -> StreamAnswer:
        asked = _MAX_TOKENS.search(body)
        chunks = int(asked[1]) if asked else 16
        answer = self._answers.get(chunks)
        if answer is None:
            answer = self._answers[chunks] = StreamAnswer(chunks)
        return answer


def _tokenized(body: bytes, key: bytes) -> bytes:
    """Return token ids that equal prompts and equal prefixes share; one byte of the messages stands for a token."""
    messages = body[body.find(b'"messages"') :]
    tokens = list(messages[::_BYTES_PER_TOKEN])
    return b'{"count":%d,"max_model_len":131072,"%b":%b,"token_strs":null}' % (len(tokens), key, repr(tokens).encode())


async def serve(port: int, step_ms: int, prompt_api: PromptApi, *, burst: bool) -> None:
    """Serve on loopback until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    steps = Steps(loop, step_ms, burst=burst)
    answers: dict[int, StreamAnswer] = {}
    server = await loop.create_server(
        lambda: EngineConnection(steps, answers, prompt_api), "127.0.0.1", port, backlog=1024
    )
    await stopped.wait()
    server.close()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--step-ms", type=int, default=0, help="time between two chunks of a stream")
    parser.add_argument("--burst", action="store_true", help="write the chunks of a step back to back")
    parser.add_argument("--prompt-api", type=PromptApi, choices=list(PromptApi), default=PromptApi.TOKENIZE)
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.step_ms, options.prompt_api, burst=options.burst))


if __name__ == "__main__":
    main()
