"""The JSON and the events of the Responses API, in vLLM's form and order."""

import time
from typing import Any
from uuid import uuid4

import msgspec

from deployments.engines.sim.api.errors import engine_died
from deployments.engines.sim.api.logprobs import chat_logprobs
from deployments.engines.sim.api.usage import cache_counts, counts
from deployments.engines.sim.generation.answer import Answer
from deployments.engines.sim.generation.core import Generation
from deployments.engines.sim.responses.request import ResponsesRequest

encode = msgspec.json.encode

_STATUS = {"stop": "completed", "length": "incomplete", "abort": "cancelled"}


class ResponsesFormat:
    """Words the answer to one request; implements `api.serving.AnswerFormat`.

    Args:
        request: the request.
        model: the served model's name.

    Attributes:
        response_id: the id of the response.
    """

    def __init__(self, request: ResponsesRequest, model: str) -> None:
        self.response_id = request.request_id or f"resp_{uuid4().hex[:16]}"
        self._request = request
        self._model = model
        self._created = int(time.time())
        self._sequence = 0
        self._item_id = f"msg_{uuid4().hex[:16]}"
        self._call_ids: dict[int, str] = {}
        self._logprobs: list[dict[str, Any]] = []
        self._begun: set[int] = set()
        self._ended: set[int] = set()

    def response(self, generation: Generation, status: str = "") -> dict[str, Any]:
        """Return the response as it is now.

        Args:
            generation: what is generated for it.
            status: its status; "": it has ended, and its answer says how.
        """
        answer = generation.answers[0]
        status = status or _STATUS[answer.finish_reason or "abort"]
        is_over = status in ("completed", "incomplete")
        request = self._request
        return {
            "id": self.response_id,
            "created_at": self._created,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": request.instructions,
            "metadata": request.metadata,
            "model": self._model,
            "object": "response",
            "output": self._output(answer) if is_over else [],
            "parallel_tool_calls": request.parallel_tool_calls is not False,
            "temperature": 1.0 if request.temperature is None else request.temperature,
            "tool_choice": request.tool_choice,
            "tools": [{"strict": None, "description": None, **tool} for tool in request.tools],
            "top_p": 1.0 if request.top_p is None else request.top_p,
            "background": bool(request.background),
            "max_output_tokens": answer.rules.max_tokens,
            "max_tool_calls": request.max_tool_calls,
            "previous_response_id": request.previous_response_id,
            "prompt": None,
            "reasoning": request.reasoning,
            "service_tier": request.service_tier,
            "status": status,
            "text": request.text,
            "top_logprobs": request.top_logprobs if request.includes_logprobs else None,
            "truncation": request.truncation or "disabled",
            "usage": _usage(generation) if is_over else None,
            "user": request.user,
            "presence_penalty": request.presence_penalty,
            "frequency_penalty": request.frequency_penalty,
            "kv_transfer_params": generation.kv_transfer_params,
        }

    def opening(self, generation: Generation) -> bytes:
        """Return the events that say that the response is being made."""
        response = self.response(generation, "in_progress")
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def news(self, generation: Generation, answer: Answer) -> bytes:  # noqa: ARG002 - the protocol's signature
        """Return the events with the answer's new text or parts of tool calls."""
        if answer.script is None or not answer.script.calls:
            logprobs = self._take_logprobs(answer)
            text = answer.take_new()
            if not text:
                return b""
            place = {"content_index": 0, "item_id": self._item_id, "output_index": 0}
            return self._begin_text() + self._event(
                "response.output_text.delta", **place, delta=text, logprobs=logprobs
            )
        events = b""
        for delta in answer.take_call_deltas():
            if delta.opens:
                item = self._call_item(answer, delta.index, "", "in_progress")
                events += self._end_calls(answer, delta.index)
                events += self._event("response.output_item.added", item=item, output_index=delta.index)
                self._begun.add(delta.index)
            if delta.arguments:
                place = {"item_id": self._call_ids[delta.index], "output_index": delta.index}
                events += self._event("response.function_call_arguments.delta", **place, delta=delta.arguments)
        return events

    def closing(self, generation: Generation) -> bytes:
        """Return the events that end the last item, and the whole response."""
        answer = generation.answers[0]
        is_calling = answer.script is not None and bool(answer.script.calls)
        ended = self._end_calls(answer, len(self._begun)) if is_calling else self._end_text(answer)
        return ended + self._event("response.completed", response=self.response(generation))

    def failure(self) -> bytes:
        """Return an error's event."""
        error = engine_died()
        return self._event("error", code="server_error", message=error.message, param=None)

    def whole(self, generation: Generation) -> bytes:
        """Return the whole response."""
        return encode(self.response(generation))

    def _output(self, answer: Answer) -> list[dict[str, Any]]:
        calls = answer.script.calls if answer.script is not None else ()
        # Where a stream has told part of a call that is cut short, the response repeats that part.
        shown = range(len(answer.calls)) if answer.calls or not self._begun else sorted(self._begun)
        if calls and (answer.calls or self._begun):
            return [self._call_item(answer, index, _told(answer, index), "completed") for index in shown]
        self._take_logprobs(answer)
        logprobs = self._logprobs if self._request.includes_logprobs else None
        text = {"annotations": [], "text": answer.text, "type": "output_text", "logprobs": logprobs}
        return [self._text_item("completed", [text] if answer.text else [])]

    def _begin_text(self) -> bytes:
        if 0 in self._begun:
            return b""
        self._begun.add(0)
        part = {"annotations": [], "text": "", "type": "output_text", "logprobs": []}
        place = {"content_index": 0, "item_id": self._item_id, "output_index": 0}
        return self._event(
            "response.output_item.added", item=self._text_item("in_progress", []), output_index=0
        ) + self._event("response.content_part.added", **place, part=part)

    def _end_text(self, answer: Answer) -> bytes:
        if 0 not in self._begun:
            return b""
        (item,) = self._output(answer)
        place = {"content_index": 0, "item_id": self._item_id, "output_index": 0}
        return (
            self._event("response.output_text.done", **place, text=answer.text, logprobs=[])
            + self._event("response.content_part.done", **place, part=item["content"][0])
            + self._event("response.output_item.done", item=item, output_index=0)
        )

    def _end_calls(self, answer: Answer, before: int) -> bytes:
        events = b""
        for index in sorted(self._begun - self._ended):
            if index < before:
                self._ended.add(index)
                arguments, place = _told(answer, index), {"item_id": self._call_ids[index], "output_index": index}
                item = self._call_item(answer, index, arguments, "completed")
                events += self._event(
                    "response.function_call_arguments.done", **place, arguments=arguments, name=item["name"]
                )
                events += self._event("response.output_item.done", item=item, output_index=index)
        return events

    def _text_item(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self._item_id, "content": content, "role": "assistant", "status": status, "type": "message"}

    def _call_item(self, answer: Answer, index: int, arguments: str, status: str) -> dict[str, Any]:
        call = answer.script.calls[index] if answer.script is not None else answer.calls[index]
        return {
            "arguments": arguments,
            "call_id": call.call_id,
            "name": call.name,
            "type": "function_call",
            "id": self._call_ids.setdefault(index, f"fc_{uuid4().hex[:16]}"),
            "status": status,
        }

    def _take_logprobs(self, answer: Answer) -> list[dict[str, Any]]:
        if answer.words is None:
            return []
        words, answer.words = answer.words, []
        found = chat_logprobs(words, self._request.top_logprobs or 0)
        self._logprobs += found
        return found

    def _event(self, kind: str, **fields: object) -> bytes:
        body = encode({**fields, "sequence_number": self._sequence, "type": kind})
        self._sequence += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), body)


def _told(answer: Answer, index: int) -> str:
    if answer.script is None:
        return ""
    first, last = answer.script.spans[index]
    return answer.text[first:last]


def _usage(generation: Generation) -> dict[str, Any]:
    found, (cached, created) = counts(generation), cache_counts(generation)
    return {
        "input_tokens": found["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": created},
        "output_tokens": found["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0, "tool_output_tokens": 0},
        "total_tokens": found["total_tokens"],
    }
