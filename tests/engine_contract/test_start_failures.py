"""A vLLM that does not start says why, in one line."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine_contract.contract_models import VLLM
from tests.engine_contract.served_engine import ROOT, ServedEngine

WRONG_ARGUMENTS = {
    r"engine_args\.max_model_length: vLLM has no such argument; did you mean max_model_len": {"max_model_length": 512},
    r"engine_args: argument --max-model-len: invalid .* value: 'long'": {"max_model_len": "long"},
    r"engine_args: invalid tool call parser: hermit": {
        "enable_auto_tool_choice": True,
        "tool_call_parser": "hermit",
    },
}

STARTS = """
import asyncio, sys
from cluster.errors import EngineStartError
from cluster.spec.model_spec import ModelSpec
from deployments.engines.vllm.engine import VllmEngine

async def main():
    for model in sys.argv[1:]:
        try:
            await VllmEngine(ModelSpec.model_validate_json(model)).start()
        except EngineStartError as exc:
            print("EngineStartError:", exc)

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.vllm
def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    """The parser of vLLM judges `engine_args` before anything is loaded; the error names the argument."""
    program = tmp_path / "starts.py"
    program.write_text(STARTS)
    models = [VLLM.model_copy(update={"engine_args": args}).model_dump_json() for args in WRONG_ARGUMENTS.values()]
    done = subprocess.run(
        [sys.executable, str(program), *models],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("EngineStartError: ")]
    assert len(said) == len(WRONG_ARGUMENTS), done.stdout[-2000:]
    for line, message in zip(said, WRONG_ARGUMENTS, strict=True):
        assert re.search(message, line)


@pytest.mark.long
@pytest.mark.vllm
def test_the_engine_process_leaves_its_reason(tmp_path: Path) -> None:
    """What fails in the engine's process, here for want of memory, is in the replica's error, not in a log alone."""
    args = {"max_model_len": 8192, "kv_cache_memory_bytes": 50_000_000}
    served = ServedEngine(VLLM.model_copy(update={"engine_args": args}), tmp_path / "memory.log")
    try:
        assert served.process.wait(240) != 0
        errors = [line for line in served.log.read_text().splitlines() if "cluster.errors.EngineStartError: " in line]
        assert len(errors) == 1
        assert "vLLM did not start for 'contract-model': ValueError: To serve at least one request" in errors[0]
    finally:
        served.close()
