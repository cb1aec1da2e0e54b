"""What vLLM compiles or builds at first use, it has when it is ready."""

import re
import threading
import time
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from tests.engine_contract.contract_models import LONG_ANSWER, VLLM
from tests.engine_contract.served_engine import ServedEngine

CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "Hi"}]
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]}
FIRST_USED: dict[str, dict[str, Any]] = {
    "logprobs": {"logprobs": True, "top_logprobs": 3},
    "logprobs of two answers": {"logprobs": True, "n": 2, "temperature": 1},
    "JSON schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
    "tools": {"tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]},
    "penalties": {"presence_penalty": 1, "frequency_penalty": 1},
}


@pytest.mark.vllm
@pytest.mark.timeout(600)
def test_every_feature_was_used_before_it_was_ready(vllm_engine: ServedEngine) -> None:
    """VLLM refuses none of the warm-up's requests, and nothing of them is left in its cache or its rates."""
    assert re.search(r"warmed_up .*refused=\{\}", vllm_engine.log.read_text())


@pytest.mark.long
@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_the_first_use_is_as_quick_as_a_later_one(tmp_path: Path) -> None:
    """With an empty compiler cache: no feature's first request takes much longer, and a running stream goes on."""
    env = {**VLLM.env, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor")}
    served = ServedEngine(VLLM.model_copy(update={"env": env}), tmp_path / "vllm.log")
    try:
        served.wait_ready()
        assert served.view("stats")["prefill_tokens_per_s"] == 0, "the warm-up is no measurement"
        with _Stream(served.url) as running:
            for name, fields in FIRST_USED.items():
                running.longest_gap_s = 0.0
                first_s, later_s = (_seconds(served, fields) for _ in range(2))
                assert first_s < 3 * later_s + 1, name
                assert running.longest_gap_s < 2, name
    finally:
        served.close()


def _seconds(served: ServedEngine, fields: dict[str, Any]) -> float:
    began_s = time.monotonic()
    body = {"model": "contract-model", "messages": HI, "max_tokens": 2, "temperature": 0, **fields}
    assert served.post(CHAT, body).status_code == 200
    return time.monotonic() - began_s


class _Stream:
    """A stream that runs while the block does.

    Attributes:
        longest_gap_s: longest time between two of its events since it was set to 0.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._begun = threading.Event()
        self.longest_gap_s = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._begun.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _read(self) -> None:
        body = {
            "model": "contract-model",
            "prompt": "Once",
            "max_tokens": LONG_ANSWER,
            "ignore_eos": True,
            "stream": True,
        }
        while not self._over.is_set():
            with httpx.stream("POST", f"{self._url}/v1/completions", json=body, timeout=120) as response:
                last_s = time.monotonic()
                for _ in response.iter_lines():
                    now_s = time.monotonic()
                    self.longest_gap_s = max(self.longest_gap_s, now_s - last_s)
                    last_s = now_s
                    self._begun.set()
                    if self._over.is_set():
                        return
