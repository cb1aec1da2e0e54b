"""The JSON of chat completions, streamed and whole, in vLLM's form."""

import time
from typing import Any
from uuid import uuid4

import msgspec

from deployments.engines.sim.api.errors import engine_died
from deployments.engines.sim.api.logprobs import chat_logprobs, prompt_logprobs
from deployments.engines.sim.api.usage import counts_before, counts_with_reasoning, usage
from deployments.engines.sim.chat.request import ChatRequest
from deployments.engines.sim.generation.answer import Answer
from deployments.engines.sim.generation.core import Generation
from deployments.engines.sim.guided.tool_choice import ToolUse

encode = msgspec.json.encode


class ChatFormat:
    """Words the answers to one chat request; implements `api.serving.AnswerFormat`.

    Args:
        request: the request.
        tools: its tools.
        request_id: its `x-request-id`; None: it has none.
        model: the served model's name.

    Attributes:
        response_id: the id of the response.
    """

    def __init__(self, request: ChatRequest, tools: ToolUse, request_id: str | None, model: str) -> None:
        self.response_id = "chatcmpl-" + (request_id or uuid4().hex[:16])
        self._request = request
        # Of a call that the request has named, vLLM says that the answer just stopped.
        self._call_reason = "stop" if tools.named else "tool_calls"
        self._model = model
        self._created = int(time.time())
        self._head = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":[{"index":' % (
            encode(self.response_id),
            self._created,
            encode(model),
        )

    def opening(self, generation: Generation) -> bytes:
        """Return the first event of each choice, with its role."""
        each = {"usage": counts_before(generation)} if self._request.wants_usage_each else {}
        delta = {"role": "assistant", "content": ""}
        return b"".join(
            self._event([{"index": answer.index, "delta": delta, "logprobs": None, "finish_reason": None}], **each)
            for answer in generation.answers
        )

    def news(self, generation: Generation, answer: Answer) -> bytes:
        """Return the event with an answer's new text or parts of tool calls."""
        is_calling = answer.script is not None and bool(answer.script.calls)
        if is_calling:
            deltas = answer.take_call_deltas()
            if not deltas and answer.finish_reason is None:
                return b""  # text around the calls, which vLLM's parser keeps
            shown = b'"delta":%b' % encode(
                {"content": None, "tool_calls": _delta_calls(answer, deltas)} if deltas else {}
            )
        elif answer.rules.mean_reasoning_words:
            delta = _parts(answer.take_new_reasoning(), answer.take_new())
            if not delta and answer.finish_reason is None:
                return b""  # the end of the reasoning, which vLLM's parser keeps
            shown = b'"delta":%b' % encode(delta)
        else:
            shown = b'"delta":{"content":%b}' % encode(answer.take_new())
        tail = b',"usage":' + encode(counts_with_reasoning(generation)) if self._request.wants_usage_each else b""
        return b'%b%d,%b,"logprobs":%b,"finish_reason":%b,"stop_reason":%b,"token_ids":null}]%b}\n\n' % (
            self._head,
            answer.index,
            shown,
            encode(self._logprobs(answer)),
            encode(self._finish_reason(answer)),
            encode(answer.stop_reason),
            tail,
        )

    def closing(self, generation: Generation) -> bytes:
        """Return the event with the usage, if it was asked for, and the end of the stream."""
        last = self._event([], usage=usage(generation)) if self._request.wants_usage else b""
        return last + b"data: [DONE]\n\n"

    def failure(self) -> bytes:
        """Return an error's event and the end of the stream."""
        return b"data: " + engine_died().body + b"\n\ndata: [DONE]\n\n"

    def whole(self, generation: Generation) -> bytes:
        """Return the whole response."""
        choices = [
            {
                "index": answer.index,
                "message": _message(answer),
                "logprobs": self._logprobs(answer),
                "finish_reason": self._finish_reason(answer),
                "stop_reason": answer.stop_reason,
                "token_ids": None,
            }
            for answer in generation.answers
        ]
        asked = self._request.prompt_logprobs
        return encode(
            {
                **self._about("chat.completion"),
                "choices": choices,
                "usage": usage(generation),
                "prompt_logprobs": None if asked is None else prompt_logprobs(generation.answers[0].prompt),
                "kv_transfer_params": generation.kv_transfer_params,
            }
        )

    def _finish_reason(self, answer: Answer) -> str | None:
        return self._call_reason if answer.calls else answer.finish_reason

    def _logprobs(self, answer: Answer) -> dict[str, Any] | None:
        if answer.words is None:
            return None
        words, answer.words = answer.words, []
        return {"content": chat_logprobs(words, self._request.alternatives or 0)}

    def _event(self, choices: list[dict[str, Any]], **more: object) -> bytes:
        return b"data: " + encode({**self._about("chat.completion.chunk"), "choices": choices, **more}) + b"\n\n"

    def _about(self, kind: str) -> dict[str, Any]:
        return {"id": self.response_id, "object": kind, "created": self._created, "model": self._model}


def _message(answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "" if answer.calls else answer.text if answer.text or not answer.reasoning else None,
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "reasoning": answer.reasoning or None,
    }
    if answer.calls:
        message["tool_calls"] = [
            {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in answer.calls
        ]
    return message


def _parts(reasoning: str, content: str) -> dict[str, str]:
    return {name: text for name, text in (("reasoning", reasoning), ("content", content)) if text}


def _delta_calls(answer: Answer, deltas: list[Any]) -> list[dict[str, Any]]:
    calls = answer.script.calls if answer.script is not None else ()
    found = []
    for delta in deltas:
        call = calls[delta.index]
        function: dict[str, str] = {"name": call.name} if delta.opens else {}
        if delta.arguments:
            function["arguments"] = delta.arguments
        about = {"id": call.call_id, "type": "function"} if delta.opens else {}
        found.append({**about, "index": delta.index, "function": function})
    return found
