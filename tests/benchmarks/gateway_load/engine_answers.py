"""What the mock engine answers, byte for byte: written by the engine, verified by the load client.

Shapes and sizes follow vLLM 0.32 behind uvicorn: a stream is chunked, one event of about 230 bytes a chunk, one write
a chunk. Every event carries the request's own tag (its `user` field), so an answer that reaches the wrong client, or
is cut, doubled or reordered on its way, does not compare equal.
"""

import re
from typing import Final

from tests.benchmarks.gateway_load.engine_usage import EngineUsage

MODEL = "mock-engine"
_CREATED = 1_790_000_000
_WORDS = (
    " the",
    " rack",
    " holds",
    " seventy",
    "-two",
    " GPUs",
    ",",
    " joined",
    " by",
    " NVLink",
    " into",
    " one",
    " domain",
    ".",
)

HEAD_STREAM = (
    b"HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 02:34:29 GMT\r\nserver: uvicorn\r\n"
    b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
LAST_CHUNK = b"0\r\n\r\n"
STREAM_END: Final = b"\r\n" + LAST_CHUNK
"""How a chunked body ends. The line break in front matters: a head may end in `0\\r\\n\\r\\n`, too."""
_DONE = b"data: [DONE]\n\n"


_BEFORE_TAG = b'data: {"id":"chatcmpl-'


def _after_tags(chunks: int) -> list[bytes]:
    """Return what follows the tag in each event of a stream."""
    if chunks < 1:
        raise ValueError(f"a stream has at least one chunk, not {chunks}")
    deltas = [f'{{"content":"{_WORDS[i % len(_WORDS)]}"}}' for i in range(chunks)]
    deltas[0] = '{"role":"assistant","content":""}'
    finishes = ["null"] * (chunks - 1) + ['"stop"']
    return [
        (
            f'","object":"chat.completion.chunk","created":{_CREATED},"model":"{MODEL}","choices":'
            f'[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish},"token_ids":null}}]}}\n\n'
        ).encode()
        for delta, finish in zip(deltas, finishes, strict=True)
    ]


class StreamAnswer:
    """An answer streamed in `chunks` events plus `[DONE]`, prepared once for any tag."""

    def __init__(self, chunks: int) -> None:
        self.chunks = chunks
        self._after = after = _after_tags(chunks)
        # The whole body is one `tag.join`: every event but the first starts in the piece that ends the one before.
        self._seams = [_BEFORE_TAG, *(ended + _BEFORE_TAG for ended in after[:-1]), after[-1] + _DONE]

    def body(self, tag: bytes) -> bytes:
        """Return the whole body without its transfer encoding."""
        return tag.join(self._seams)

    def chunk(self, index: int, tag: bytes) -> bytes:
        """Return what the engine writes for event `index`; with the last event also `[DONE]` and the last chunk."""
        after = self._after[index]
        written = b"%x\r\n%b%b%b\r\n" % (len(_BEFORE_TAG) + len(tag) + len(after), _BEFORE_TAG, tag, after)
        if index == self.chunks - 1:
            return b"%b%x\r\n%b\r\n%b" % (written, len(_DONE), _DONE, LAST_CHUNK)
        return written

    def told_chunk(self, index: int, tag: bytes, prompt_tokens: int) -> bytes:
        """Return event `index` with its usage (`continuous_usage_stats`); after the last, an event with usage alone."""
        usage = b'"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d}}\n\n' % (
            prompt_tokens,
            prompt_tokens + index,
            index,
        )
        event = b"%b%b%b,%b" % (_BEFORE_TAG, tag, self._after[index].removesuffix(b"}\n\n"), usage)
        if index < self.chunks - 1:
            return b"%x\r\n%b\r\n" % (len(event), event)
        last = b"%b%b%b%b" % (_BEFORE_TAG, tag, _USAGE_ALONE, usage)
        return b"".join([b"%x\r\n%b\r\n" % (len(part), part) for part in (event, last, _DONE)]) + LAST_CHUNK


_USAGE_ALONE = f'","object":"chat.completion.chunk","created":{_CREATED},"model":"{MODEL}","choices":[],'.encode()
_HIDDEN_USAGE = re.compile(rb',"usage":null *(?=\}\n)')


def without_hidden_usage(body: bytes) -> bytes:
    """Return a stream's body without the usage that a gateway asked for and hid: `null`, and spaces after it."""
    return _HIDDEN_USAGE.sub(b"", body)


_PLAIN_START = (
    f'","object":"chat.completion","created":{_CREATED},"model":"{MODEL}","choices":[{{"index":0,"message":'
    '{"role":"assistant","content":"The capital of France is Paris.","refusal":null,"annotations":null,"audio":null,'
    '"function_call":null,"tool_calls":[],"reasoning":null},"logprobs":null,"finish_reason":"stop","stop_reason":null,'
    '"token_ids":null}],"service_tier":null,"usage":'
).encode()
_PLAIN_USAGE = (
    b'{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":8,"prompt_tokens_details":{"cached_tokens":%d}}'
)
_PLAIN_END = b',"prompt_logprobs":null,"kv_transfer_params":null}'
_CACHED = re.compile(rb'"cached_tokens":(\d+)\}')


def plain_body(tag: bytes, usage: EngineUsage) -> bytes:
    """Return the body of an answer that is not streamed."""
    prompt, cached = usage
    told = _PLAIN_USAGE % (prompt, prompt + 8, cached)
    return b'{"id":"chatcmpl-%b%b%b%b' % (tag, _PLAIN_START, told, _PLAIN_END)


def is_plain_body(body: bytes, tag: bytes, prompt_tokens: int) -> bool:
    """Tell whether a body is the answer to a request, to the byte; the engine alone knows what it had cached."""
    cached = _CACHED.search(body, len(body) - len(_PLAIN_END) - 32)
    return cached is not None and body == plain_body(tag, EngineUsage(prompt_tokens, int(cached[1])))


def json_response(body: bytes, status: bytes = b"200 OK") -> bytes:
    """Return a whole JSON response as uvicorn would send it."""
    return (
        b"HTTP/1.1 %b\r\ndate: Sun, 22 Nov 2026 02:34:29 GMT\r\nserver: uvicorn\r\ncontent-length: %d\r\n"
        b"content-type: application/json\r\n\r\n%b" % (status, len(body), body)
    )
