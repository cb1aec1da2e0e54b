"""The Responses API: made, streamed, continued, fetched and cancelled."""

import json
import time
from typing import Any

import httpx
from jsonschema import validate
from openai.types.responses import Response

from tests.engine_contract.named_events import named_events
from tests.engine_contract.served_engine import ServedEngine
from tests.engine_contract.test_guided_output import ANSWER, WEATHER

PATH = "/v1/responses"
TOOL = {"type": "function", **WEATHER["function"]}


def test_a_response_is_made(engine: ServedEngine) -> None:
    """Its shape is the one that OpenAI's SDK reads; usage adds up; a limit makes it incomplete."""
    answer = engine.ok(
        PATH, input="Tell me a story.", instructions="Be kind.", max_output_tokens=6, metadata={"a": "b"}
    )
    response = Response.model_validate(answer)
    assert response.id.startswith("resp_")
    assert response.output_text.strip()
    assert (response.status, response.metadata, response.instructions) == ("incomplete", {"a": "b"}, "Be kind.")
    usage = answer["usage"]
    assert usage["output_tokens"] == 6
    assert usage["total_tokens"] == usage["input_tokens"] + 6
    assert usage["input_tokens_details"]["cached_tokens"] >= 0


async def test_a_response_has_the_id_that_its_request_names(engine: ServedEngine, client: httpx.AsyncClient) -> None:
    """Gateways name tenants' responses so; streamed or not, that is the response's id, and it is fetched by it."""
    name = f"resp_{time.monotonic_ns()}"
    assert engine.ok(PATH, input="Hello.", max_output_tokens=2, request_id=name)["id"] == name
    events = await named_events(client, engine, PATH, input="Hello.", max_output_tokens=2, request_id=f"{name}0")
    assert {event["response"]["id"] for _, event in events if "response" in event} == {f"{name}0"}
    assert (await client.get(f"{engine.url}{PATH}/{name}")).json()["id"] == name


async def test_a_streamed_response_says_the_same(engine: ServedEngine, client: httpx.AsyncClient) -> None:
    """The events come in their order, numbered, and the last has the whole response."""
    whole = Response.model_validate(engine.ok(PATH, input="Tell me a story.", max_output_tokens=6))
    events = await named_events(client, engine, PATH, input="Tell me a story.", max_output_tokens=6)
    names = [name for name, _ in events]
    deltas = names.count("response.output_text.delta")
    assert names == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * deltas,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event["sequence_number"] for _, event in events] == list(range(len(events)))
    assert all(event["type"] == name for name, event in events)
    said = "".join(event["delta"] for name, event in events if name == "response.output_text.delta")
    last = Response.model_validate(events[-1][1]["response"])
    assert said == last.output_text == whole.output_text


def test_a_response_is_continued_and_fetched(engine: ServedEngine) -> None:
    """The next response reads the one before with its input; it is fetched as it was made."""
    first = engine.ok(PATH, input="My name is Bob, and I like long walks.", max_output_tokens=6)
    fetched = httpx.get(f"{engine.url}{PATH}/{first['id']}").json()
    assert fetched == first
    alone = engine.ok(PATH, input="And now?", max_output_tokens=2)
    after = engine.ok(PATH, input="And now?", previous_response_id=first["id"], max_output_tokens=2)
    assert after["usage"]["input_tokens"] > alone["usage"]["input_tokens"] + 10
    assert after["previous_response_id"] == first["id"]


def test_what_is_not_stored_is_not_found(engine: ServedEngine) -> None:
    """An id that is unknown, or of a response with `store: false`, is a 404 in each use of it."""
    unstored = engine.ok(PATH, input="Hi", max_output_tokens=1, store=False)["id"]
    for response_id in ("resp_unknown", unstored):
        body = {"model": "contract-model", "input": "Hi", "previous_response_id": response_id}
        for refused in (
            httpx.get(f"{engine.url}{PATH}/{response_id}"),
            httpx.post(f"{engine.url}{PATH}/{response_id}/cancel"),
            engine.post(PATH, body),
        ):
            assert refused.status_code == 404
            assert refused.json()["error"]["param"] == "response_id"


def test_a_response_in_the_background(engine: ServedEngine) -> None:
    """It is queued, fetched when it is done, or cancelled before; one that has ended cannot be cancelled."""
    queued = engine.ok(PATH, input="Hi", max_output_tokens=3, background=True)
    assert (queued["status"], queued["output"]) == ("queued", [])
    done = _wait_done(engine, queued["id"])
    assert Response.model_validate(done).output_text
    assert httpx.post(f"{engine.url}{PATH}/{queued['id']}/cancel").status_code == 400
    endless = engine.ok(PATH, input="Tell me a long story of a river.", max_output_tokens=1000, background=True)
    cancelled = httpx.post(f"{engine.url}{PATH}/{endless['id']}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert httpx.get(f"{engine.url}{PATH}/{endless['id']}").json()["status"] == "cancelled"
    engine.wait_stats(lambda stats: stats["running"] == 0, within_s=5)


def test_the_format_of_the_text_is_kept_to(engine: ServedEngine) -> None:
    """`text.format` with a schema."""
    form = {"format": {"type": "json_schema", "name": "answer", "schema": ANSWER, "strict": True}}
    answer = engine.ok(PATH, input="The capital of France? In JSON.", max_output_tokens=60, text=form)
    validate(json.loads(Response.model_validate(answer).output_text), ANSWER)
    assert answer["status"] == "completed"


async def test_a_tool_is_called(engine: ServedEngine, client: httpx.AsyncClient) -> None:
    """A call is an item of the output, whole and streamed, whose result the next request brings."""
    body: dict[str, Any] = {"input": "The weather in Paris?", "max_output_tokens": 150, "tools": [TOOL]}
    whole = engine.ok(PATH, **body, tool_choice="required")
    (call,) = whole["output"]
    assert (call["type"], call["name"]) == ("function_call", "get_weather")
    validate(json.loads(call["arguments"]), TOOL["parameters"])
    events = await named_events(client, engine, PATH, **body, tool_choice="required")
    names = [name for name, _ in events if name != "response.function_call_arguments.delta"]
    assert names == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    pieces = [event["delta"] for name, event in events if name == "response.function_call_arguments.delta"]
    (item,) = events[-1][1]["response"]["output"]
    assert "".join(pieces) == item["arguments"]
    validate(json.loads(item["arguments"]), TOOL["parameters"])
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
    after = engine.ok(PATH, input=[result], previous_response_id=whole["id"], max_output_tokens=4, tools=[TOOL])
    assert Response.model_validate(after).output_text


def test_log_probabilities_are_included(engine: ServedEngine) -> None:
    """`include` names them."""
    include = ["message.output_text.logprobs"]
    answer = engine.ok(PATH, input="Hi", max_output_tokens=3, include=include, top_logprobs=2)
    (part,) = answer["output"][0]["content"]
    assert "".join(token["token"] for token in part["logprobs"]) == part["text"]
    assert all(len(token["top_logprobs"]) == 2 for token in part["logprobs"])


def _wait_done(engine: ServedEngine, response_id: str) -> dict[str, Any]:
    give_up = time.monotonic() + 60
    while True:
        found: dict[str, Any] = httpx.get(f"{engine.url}{PATH}/{response_id}").json()
        if found["status"] not in ("queued", "in_progress"):
            return found
        assert time.monotonic() < give_up
        time.sleep(0.05)
