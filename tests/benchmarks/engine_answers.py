"""What the mock engine answers, byte for byte: written by the engine, verified by the load client.

Shapes and sizes follow vLLM 0.32 behind uvicorn: a stream is chunked, one event of about 230 bytes a chunk, one write
a chunk. Every event carries the request's own tag (its `user` field), so an answer that reaches the wrong client, or
is cut, doubled or reordered on its way, does not compare equal.
"""

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


_PLAIN = (
    f'","object":"chat.completion","created":{_CREATED},"model":"{MODEL}","choices":[{{"index":0,"message":'
    '{"role":"assistant","content":"The capital of France is Paris.","refusal":null,"annotations":null,"audio":null,'
    '"function_call":null,"tool_calls":[],"reasoning":null},"logprobs":null,"finish_reason":"stop","stop_reason":null,'
    '"token_ids":null}],"service_tier":null,"usage":{"prompt_tokens":37,"total_tokens":45,"completion_tokens":8,'
    '"prompt_tokens_details":null},"prompt_logprobs":null,"kv_transfer_params":null}'
).encode()


def plain_body(tag: bytes) -> bytes:
    """Return the body of an answer that is not streamed."""
    return b'{"id":"chatcmpl-%b%b' % (tag, _PLAIN)


def json_response(body: bytes, status: bytes = b"200 OK") -> bytes:
    """Return a whole JSON response as uvicorn would send it."""
    return (
        b"HTTP/1.1 %b\r\ndate: Sun, 22 Nov 2026 02:34:29 GMT\r\nserver: uvicorn\r\ncontent-length: %d\r\n"
        b"content-type: application/json\r\n\r\n%b" % (status, len(body), body)
    )
