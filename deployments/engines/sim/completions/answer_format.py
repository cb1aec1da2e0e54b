"""The JSON of completions, streamed and whole, in vLLM's form."""

import time
from typing import Any
from uuid import uuid4

import msgspec

from deployments.engines.sim.api.errors import engine_died
from deployments.engines.sim.api.logprobs import completion_logprobs, prompt_logprobs, prompt_tokens
from deployments.engines.sim.api.usage import counts, usage
from deployments.engines.sim.completions.request import CompletionRequest
from deployments.engines.sim.generation.answer import Answer
from deployments.engines.sim.generation.core import Generation

encode = msgspec.json.encode


class CompletionFormat:
    """Words the answers to one completion request; implements `api.serving.AnswerFormat`.

    Args:
        request: the request.
        request_id: its `x-request-id`; None: it has none.
        model: the served model's name.

    Attributes:
        response_id: the id of the response.
    """

    def __init__(self, request: CompletionRequest, request_id: str | None, model: str) -> None:
        self.response_id = "cmpl-" + (request_id or uuid4().hex[:16])
        self._request = request
        self._about = {
            "id": self.response_id,
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
        }
        self._head = b"data: " + encode(self._about)[:-1] + b',"choices":[{"index":'
        self._shown_chars: dict[int, int] = {}

    def opening(self, generation: Generation) -> bytes:  # noqa: ARG002 - the protocol's signature
        """Return nothing: a completion begins with its text."""
        return b""

    def news(self, generation: Generation, answer: Answer) -> bytes:
        """Return the event with an answer's new text; the first has the prompt too if it is to be echoed."""
        first = answer.index not in self._shown_chars
        text = self._echo(answer) * first + ("" if self._request.echoes_only else answer.take_new())
        offset = self._shown_chars.get(answer.index, 0)
        self._shown_chars[answer.index] = offset + len(text)
        tail = b',"usage":' + encode(counts(generation)) if self._request.wants_usage_each else b""
        return b'%b%d,"text":%b,"logprobs":%b,"finish_reason":%b,"stop_reason":%b,"token_ids":null}]%b}\n\n' % (
            self._head,
            answer.index,
            encode(text),
            encode(self._logprobs(answer, offset, with_prompt=first)),
            encode(answer.finish_reason),
            encode(answer.stop_reason),
            tail,
        )

    def closing(self, generation: Generation) -> bytes:
        """Return the event with the usage, if it was asked for, and the end of the stream."""
        last = {**self._about, "choices": [], "usage": usage(generation)}
        return (b"data: " + encode(last) + b"\n\n" if self._request.wants_usage else b"") + b"data: [DONE]\n\n"

    def failure(self) -> bytes:
        """Return an error's event and the end of the stream."""
        return b"data: " + engine_died().body + b"\n\ndata: [DONE]\n\n"

    def whole(self, generation: Generation) -> bytes:
        """Return the whole response."""
        choices = [self._choice(answer) for answer in generation.answers]
        handed_on = {"kv_transfer_params": generation.kv_transfer_params}
        return encode({**self._about, "choices": choices, "usage": usage(generation), **handed_on})

    def _choice(self, answer: Answer) -> dict[str, Any]:
        of_prompt = self._request.prompt_logprobs is not None
        return {
            "index": answer.index,
            "text": self._echo(answer) + ("" if self._request.echoes_only else answer.text),
            "logprobs": self._logprobs(answer, 0, with_prompt=True),
            "finish_reason": answer.finish_reason,
            "stop_reason": answer.stop_reason,
            "token_ids": None,
            "prompt_logprobs": prompt_logprobs(answer.prompt) if of_prompt else None,
        }

    def _echo(self, answer: Answer) -> str:
        if not self._request.echo:
            return ""
        prompt = answer.prompt
        return "".join(prompt_tokens(prompt)) if prompt.from_ids else prompt.units

    def _logprobs(self, answer: Answer, offset: int, *, with_prompt: bool) -> dict[str, Any] | None:
        if answer.words is None:
            return None
        words, answer.words = answer.words, []
        echoed = prompt_tokens(answer.prompt) if self._request.echo and with_prompt else []
        return completion_logprobs(
            echoed, [] if self._request.echoes_only else words, self._request.alternatives or 0, offset
        )
