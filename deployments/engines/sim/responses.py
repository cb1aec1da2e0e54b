"""The JSON of the simulated engine's answers, streamed and whole, in vLLM's form."""

import time
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import msgspec

from deployments.engines.sim.answer import Answer
from deployments.engines.sim.core import Generation

LOGPROB = -0.125
"""Log-probability given for every word."""

encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class ResponseShape:
    """The fields that are equal in every event of one response.

    Attributes:
        chat: the response is a chat's, not a completion's.
        response_id: the response's id.
        model: the served model's name.
        created: when the response began, Unix seconds.
    """

    chat: bool
    response_id: str
    model: str
    created: int

    @classmethod
    def of(cls, request_id: str | None, model: str, *, chat: bool) -> "ResponseShape":
        """Return the fields for the request with an `x-request-id`; None: the request has none."""
        prefix = "chatcmpl-" if chat else "cmpl-"
        return cls(chat, prefix + (request_id or uuid4().hex[:16]), model, int(time.time()))

    def opening(self, generation: Generation) -> bytes:
        """Return the first events of a chat's stream, with each choice's role; b"" for a completion."""
        if not self.chat:
            return b""
        return b"".join(
            self._event(
                [
                    {
                        "index": answer.index,
                        "delta": {"role": "assistant", "content": ""},
                        "logprobs": None,
                        "finish_reason": None,
                    }
                ]
            )
            for answer in generation.answers
        )

    def chunk_head(self) -> bytes:
        """Return the bytes with which every event of the stream begins, up to the choice's index."""
        kind = b"chat.completion.chunk" if self.chat else b"text_completion"
        return b'data: {"id":%b,"object":"%b","created":%d,"model":%b,"choices":[{"index":' % (
            encode(self.response_id),
            kind,
            self.created,
            encode(self.model),
        )

    def chunk(self, head: bytes, answer: Answer, text: str, usage: dict[str, Any] | None) -> bytes:
        """Return the event with new text of an answer.

        Args:
            head: the result of `chunk_head`.
            answer: the answer.
            text: its new text.
            usage: the usage so far; None: the request did not ask for it.
        """
        shown = b'"delta":{"content":%b}' if self.chat else b'"text":%b'
        tail = b"" if usage is None else b',"usage":' + encode(usage)
        return b'%b%d,%b,"logprobs":%b,"finish_reason":%b,"stop_reason":%b,"token_ids":null}]%b}\n\n' % (
            head,
            answer.index,
            shown % encode(text),
            b"null" if answer.words is None else encode(self._logprobs(answer, new_only=True)),
            b"null" if answer.finish_reason is None else encode(answer.finish_reason),
            b"null" if answer.stop_reason is None else encode(answer.stop_reason),
            tail,
        )

    def usage_event(self, generation: Generation) -> bytes:
        """Return the event with the usage, the last before `[DONE]`."""
        return self._event([], usage=usage(generation))

    def whole(self, generation: Generation, texts: list[str]) -> bytes:
        """Return a whole response; `texts` are the answers' texts, in order."""
        choices: list[dict[str, Any]] = []
        for answer, text in zip(generation.answers, texts, strict=True):
            shown = (
                {"message": {"role": "assistant", "content": text, "refusal": None}} if self.chat else {"text": text}
            )
            choices.append(
                {
                    "index": answer.index,
                    **shown,
                    "logprobs": None if answer.words is None else self._logprobs(answer, new_only=False),
                    "finish_reason": answer.finish_reason,
                    "stop_reason": answer.stop_reason,
                }
            )
        kind = "chat.completion" if self.chat else "text_completion"
        return encode({**self._about(kind), "choices": choices, "usage": usage(generation)})

    def _event(self, choices: list[dict[str, Any]], **more: object) -> bytes:
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return b"data: " + encode({**self._about(kind), "choices": choices, **more}) + b"\n\n"

    def _about(self, kind: str) -> dict[str, Any]:
        return {"id": self.response_id, "object": kind, "created": self.created, "model": self.model}

    def _logprobs(self, answer: Answer, *, new_only: bool) -> dict[str, Any]:
        words = answer.words or []
        if new_only:
            answer.words = []
        if self.chat:
            return {
                "content": [
                    {"token": word, "logprob": LOGPROB, "bytes": list(word.encode()), "top_logprobs": []}
                    for word in words
                ]
            }
        return {
            "text_offset": [sum(map(len, words[:place])) for place in range(len(words))],
            "token_logprobs": [LOGPROB] * len(words),
            "tokens": words,
            "top_logprobs": [{word: LOGPROB} for word in words],
        }


def usage(generation: Generation) -> dict[str, Any]:
    """Return the usage of a request so far; a prompt with several answers counts once."""
    prompts = {id(one.prompt): one for one in reversed(generation.sequences)}.values()
    prompt_tokens = sum(sequence.prompt.tokens for sequence in prompts)
    completion_tokens = sum(answer.tokens for answer in generation.answers)
    cached_tokens = sum(sequence.cached_tokens or 0 for sequence in prompts)
    return {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }
