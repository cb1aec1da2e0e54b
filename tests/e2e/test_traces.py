"""A request's trace with real vLLM: gateway → replica → vLLM's own span."""

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from openai import OpenAI
from openai.types import CompletionUsage

from tests.e2e.conftest import MODEL
from tests.integration.trace_collector import TraceCollector, attributes

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

pytestmark = [pytest.mark.long, pytest.mark.vllm, pytest.mark.ray, pytest.mark.timeout(600)]

MESSAGES: "list[ChatCompletionMessageParam]" = [{"role": "user", "content": "What is the capital of France?"}]
PARENT = "b7ad6b7169203331"


def _headers(trace_id: str, flags: str) -> dict[str, str]:
    return {"traceparent": f"00-{trace_id}-{PARENT}-{flags}", "tracestate": "vendor=1"}


def _ask(client: OpenAI, headers: dict[str, str]) -> CompletionUsage | None:
    answer = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, temperature=0, max_tokens=12, extra_headers=headers
    )
    return answer.usage


def _ask_streamed(client: OpenAI, headers: dict[str, str]) -> CompletionUsage | None:
    stream = client.chat.completions.create(
        model=MODEL,
        messages=MESSAGES,
        temperature=0,
        max_tokens=12,
        stream=True,
        stream_options={"include_usage": True},
        extra_headers=headers,
    )
    return list(stream)[-1].usage


@pytest.mark.parametrize("ask", [_ask, _ask_streamed])
def test_vllms_span_is_the_child_of_the_replicas(
    client: OpenAI, collector: TraceCollector, ask: Callable[[OpenAI, dict[str, str]], CompletionUsage | None]
) -> None:
    """Each span is the child of the one before, the first of the client's; vLLM's has the tokens of the usage."""
    trace_id = secrets.token_hex(16)
    usage = ask(client, _headers(trace_id, "01"))
    assert usage is not None
    spans = collector.of(trace_id, 3)
    gateway, replica, engine = (spans[name] for name in ("rackserve-gateway", "rackserve-replica", "rackserve-vllm"))
    assert gateway.parent_span_id.hex() == PARENT
    assert replica.parent_span_id == gateway.span_id
    assert engine.parent_span_id == replica.span_id
    assert gateway.trace_state == replica.trace_state == engine.trace_state == "vendor=1"
    assert gateway.start_time_unix_nano <= replica.start_time_unix_nano <= engine.start_time_unix_nano
    noted = attributes(engine)
    assert (engine.name, noted["gen_ai.usage.prompt_tokens"]) == ("llm_request", usage.prompt_tokens)
    assert noted["gen_ai.usage.completion_tokens"] == usage.completion_tokens
    assert attributes(gateway)["gen_ai.usage.output_tokens"] == usage.completion_tokens


def test_vllm_begins_no_trace_of_its_own(client: OpenAI, collector: TraceCollector) -> None:
    """What a client does not want traced is not, and neither are self-tests: each request of vLLM's is a replica's."""
    unwanted, wanted = secrets.token_hex(16), secrets.token_hex(16)
    # The second goes where the first did: its prefix is there.
    for trace_id, flags in ((unwanted, "00"), (wanted, "01")):
        client.chat.completions.create(
            model=MODEL, messages=MESSAGES, max_tokens=4, extra_headers=_headers(trace_id, flags)
        )
    collector.of(wanted, 3)
    assert not any(span.trace_id.hex() == unwanted for _, span in collector.spans)
    requests = [span for name, span in collector.spans if (name, span.name) == ("rackserve-vllm", "llm_request")]
    assert requests
    assert all(span.parent_span_id for span in requests)
