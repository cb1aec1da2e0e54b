"""Reasoning on real vLLM: the parser that its family needs is chosen, and an answer goes on behind its reasoning.

The second is what the gateway relies on where it continues a stream that broke (`router/http/api/answers/resume.py`).
The simulated engine promises the same in `test_sim_reasoning.py`.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.engine_contract.contract_models import MAX_TOKENS, VLLM
from tests.engine_contract.reasoning_model import build
from tests.engine_contract.served_engine import ServedEngine, stream

pytestmark = [pytest.mark.vllm, pytest.mark.long, pytest.mark.timeout(600)]

CHAT = "/v1/chat/completions"
ASK = [{"role": "user", "content": "What is the capital of France?"}]
BEGUN = {
    "role": "assistant",
    "reasoning": "They ask for a capital. It is Paris.",
    "content": "The capital of France is",
}


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEngine]:
    """Run vLLM with a model of DeepSeek-R1's family, by its name and chat template; the file names no parser."""
    folder = tmp_path_factory.mktemp("thinker")
    source = str(build(folder / "DeepSeek-R1-Distill-SmolLM2"))
    arguments = {"dtype": "float32", "max_model_len": MAX_TOKENS, "kv_cache_memory_bytes": 256 << 20}
    served = ServedEngine(VLLM.model_copy(update={"source": source, "engine_args": arguments}), folder / "log")
    try:
        yield served.wait_ready()
    finally:
        served.close()


def test_its_parser_is_chosen(thinker: ServedEngine) -> None:
    """What follows `<think>` is reasoning, as long as nothing ends it, and is counted as that."""
    answer = thinker.ok(CHAT, messages=ASK, max_tokens=12)
    message: dict[str, Any] = answer["choices"][0]["message"]
    assert message["reasoning"]
    assert answer["usage"]["completion_tokens_details"] == {"reasoning_tokens": 12}
    assert not message["content"]
    log = thinker.log.read_text()
    assert "reasoning_parser" in log
    assert "deepseek_r1" in log
    assert "argument=tool_call_parser" not in log


async def test_an_answer_goes_on_behind_its_reasoning(thinker: ServedEngine, client: httpx.AsyncClient) -> None:
    """With both in the message, what follows is text and no reasoning, and is counted so with each event.

    Streamed, as the gateway asks for it: of a whole answer vLLM 0.32 does not look whether the prompt has its end.
    """
    usage = {"include_usage": True, "continuous_usage_stats": True}
    first = await stream(client, thinker, CHAT, messages=ASK, max_tokens=8, stream_options=usage)
    counts = [event["usage"]["completion_tokens_details"]["reasoning_tokens"] for event in first.events]
    assert counts == [event["usage"]["completion_tokens"] for event in first.events]
    asked = {"messages": [*ASK, BEGUN], "continue_final_message": True, "add_generation_prompt": False}
    found = await stream(client, thinker, CHAT, max_tokens=8, stream_options=usage, **asked)
    assert found.events[-1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 0}
    assert found.text().startswith(" Paris")
    assert not any(choice["delta"].get("reasoning") for event in found.events for choice in event["choices"])


def test_the_reasoning_is_in_its_prompt(thinker: ServedEngine) -> None:
    """Not only the text: the chat template puts the reasoning before it."""
    asked = {"continue_final_message": True, "add_generation_prompt": False}
    counts = [
        thinker.ok("/tokenize", messages=[*ASK, message], **asked)["count"]
        for message in (BEGUN, {"role": "assistant", "content": BEGUN["content"]})
    ]
    assert counts[0] > counts[1] + 5
