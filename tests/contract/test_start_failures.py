"""A vLLM that does not start says why, in one line."""

import re
from pathlib import Path

import pytest

from tests.contract.conftest import VLLM
from tests.contract.served_engine import ServedEngine

FAILURES = {
    "a name vLLM does not have": (
        {"max_model_length": 512},
        r"engine_args\.max_model_length: vLLM has no such argument; did you mean max_model_len",
    ),
    "a value of the wrong type": (
        {"max_model_len": "long"},
        r"engine_args: argument --max-model-len: invalid .* value: 'long'",
    ),
    "a tool parser there is not": (
        {"enable_auto_tool_choice": True, "tool_call_parser": "hermit"},
        r"engine_args: invalid tool call parser: hermit",
    ),
    "too little memory, found out by the engine process": (
        {"max_model_len": 8192, "kv_cache_memory_bytes": 50_000_000},
        r"vLLM did not start for 'contract-model': ValueError: To serve at least one request",
    ),
}


@pytest.mark.vllm
def test_the_reason_is_in_the_error(tmp_path: Path) -> None:
    """Whether vLLM's arguments or its engine process fails, the error carries the cause and what would be right."""
    served = {
        name: ServedEngine(VLLM.model_copy(update={"engine_args": args}), tmp_path / f"{place}.log")
        for place, (name, (args, _)) in enumerate(FAILURES.items())
    }
    try:
        for name, (_, message) in FAILURES.items():
            assert served[name].process.wait(240) != 0
            last = served[name].log.read_text().strip().splitlines()
            errors = [line for line in last if line.startswith("cluster.errors.EngineStartError: ")]
            assert len(errors) == 1, last[-10:]
            assert re.search(message, errors[0]), errors
    finally:
        for one in served.values():
            one.close()
