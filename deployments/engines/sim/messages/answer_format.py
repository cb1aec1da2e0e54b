"""The JSON of Anthropic's Messages API, streamed and whole, in vLLM's form."""

from typing import Any
from uuid import uuid4

import msgspec

from deployments.engines.sim.api.errors import RequestError, engine_died
from deployments.engines.sim.api.usage import cache_counts, counts
from deployments.engines.sim.generation.answer import Answer
from deployments.engines.sim.generation.core import Generation

encode = msgspec.json.encode


class MessagesFormat:
    """Words the answer to one request; implements `api.serving.AnswerFormat`.

    Args:
        request_id: its `x-request-id`; None: it has none.
        model: the served model's name.

    Attributes:
        response_id: the id of the response.
    """

    def __init__(self, request_id: str | None, model: str) -> None:
        self.response_id = "chatcmpl-" + (request_id or uuid4().hex[:16])
        self._model = model
        self._block = -1
        self._open = ""

    def opening(self, generation: Generation) -> bytes:
        """Return the event with the empty message."""
        usage = {"input_tokens": counts(generation)["prompt_tokens"], "output_tokens": 0}
        message = {**self._about([]), "stop_reason": None, "stop_sequence": None, "usage": usage}
        return _event("message_start", message=message)

    def news(self, generation: Generation, answer: Answer) -> bytes:  # noqa: ARG002 - the protocol's signature
        """Return the events with the answer's new text or parts of tool calls."""
        if answer.script is None or not answer.script.calls:
            text = answer.take_new()
            if not text:
                return b""
            begin = self._begin("text", {"type": "text", "text": ""}) if self._open != "text" else b""
            return begin + self._delta({"type": "text_delta", "text": text})
        events = b""
        for delta in answer.take_call_deltas():
            if delta.opens:
                call = answer.script.calls[delta.index]
                block = {"type": "tool_use", "id": call.call_id, "name": call.name, "input": {}}
                events += self._begin("tool_use", block)
            if delta.arguments:
                events += self._delta({"type": "input_json_delta", "partial_json": delta.arguments})
        return events

    def closing(self, generation: Generation) -> bytes:
        """Return the events with why the message ended and its usage."""
        reason, sequence = _stop_reason(generation.answers[0])
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        ended = _event("message_delta", delta=delta, usage=usage(generation))
        return self._end() + ended + _event("message_stop")

    def failure(self) -> bytes:
        """Return an error's event."""
        return b"event: error\ndata: " + error_body(engine_died()) + b"\n\n"

    def whole(self, generation: Generation) -> bytes:
        """Return the whole response."""
        answer = generation.answers[0]
        blocks: list[dict[str, Any]] = [
            {"type": "tool_use", "id": call.call_id, "name": call.name, "input": msgspec.json.decode(call.arguments)}
            for call in answer.calls
        ]
        reason, sequence = _stop_reason(answer)
        ended = {"stop_reason": reason} | ({} if sequence is None else {"stop_sequence": sequence})
        content = blocks or [{"type": "text", "text": answer.text}]
        kept = generation.kv_transfer_params
        handed_on = {} if kept is None else {"kv_transfer_params": kept}
        return encode({**self._about(content), **ended, "usage": usage(generation), **handed_on})

    def _about(self, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.response_id,
            "type": "message",
            "role": "assistant",
            "content": content,
            "model": self._model,
        }

    def _begin(self, kind: str, block: dict[str, Any]) -> bytes:
        ended = self._end()
        self._block += 1
        self._open = kind
        return ended + _event("content_block_start", content_block=block, index=self._block)

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", delta=delta, index=self._block)

    def _end(self) -> bytes:
        was_open, self._open = self._open, ""
        return _event("content_block_stop", index=self._block) if was_open else b""


def usage(generation: Generation) -> dict[str, int]:
    """Return the usage: `input_tokens` are those of the prompt that the cache neither held nor took in."""
    cached, created = cache_counts(generation)
    found = counts(generation)
    return {
        "input_tokens": found["prompt_tokens"] - cached - created,
        "output_tokens": found["completion_tokens"],
        "cache_creation_input_tokens": created,
        "cache_read_input_tokens": cached,
    }


def error_body(error: RequestError) -> bytes:
    """Return an error as JSON in Anthropic's form."""
    return encode({"type": "error", "error": {"type": error.kind, "message": error.message}})


def _stop_reason(answer: Answer) -> tuple[str, str | None]:
    if answer.finish_reason == "length":
        return "max_tokens", None
    if answer.calls:
        return "tool_use", None
    return ("end_turn", None) if answer.stop_reason is None else ("stop_sequence", answer.stop_reason)


def _event(kind: str, **fields: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode({"type": kind, **fields}))
