"""`rackserve bench` at the gateway alone, in front of a simulated engine: what it prints, keeps and compares."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from deployments.load.figures.run_file import read_run
from tests.integration.cluster.command import RACKSERVE
from tests.integration.load.conftest import SimEndpoint
from tests.machine_speed import slowness

PNG = b"\x89PNG\r\n"


def bench(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `rackserve bench` with these words."""
    ended = subprocess.run([RACKSERVE, "bench", *words], capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended


def test_planted_times_and_the_engines_counts_come_out(endpoint: SimEndpoint, tmp_path: Path) -> None:
    """Prompts of 400 tokens that nobody sent before take 200 ms, tokens 30 ms; counts are the engine's own."""
    before = {name: endpoint.engine.metric(f"vllm:{name}_tokens_total") for name in ("prompt", "generation")}
    kept, png = tmp_path / "run.json", tmp_path / "run.png"
    load = "at_a_time=1,requests=12,prompt_tokens=400,output_tokens=16,spread=0"
    words = ("--load", load, "--slo-ttft-ms", "100", "--save", str(kept), "--png", str(png))
    shown = bench(endpoint.url, *words).stdout
    run = read_run(kept)
    figures = run.figures()
    late_s = 0.03 * slowness()
    assert figures.ttft_s is not None
    assert figures.tpot_s is not None
    assert 0.199 <= figures.ttft_s.p50 < 0.2 + 0.03 + late_s  # the prompt, one step, and the way
    assert 0.029 <= figures.tpot_s.p50 < 0.03 + late_s
    assert all(abs((record.prompt_tokens or 0) - 400) <= 4 for record in run.requests)
    after = {name: endpoint.engine.metric(f"vllm:{name}_tokens_total") for name in ("prompt", "generation")}
    # Two short requests measure before the run how long a prompt is: they have one token each.
    assert after["generation"] - before["generation"] == figures.output_tokens + 2 == 12 * 16 + 2
    assert figures.prompt_tokens is not None
    assert after["prompt"] - before["prompt"] > figures.prompt_tokens
    assert figures.within_slo == 0.0
    assert "12 of 12 requests of 12 sessions answered" in shown
    assert "Within TTFT 100 ms: 0.0%" in shown
    assert png.read_bytes().startswith(PNG)


def test_the_cached_share_is_that_of_the_shared_beginning(endpoint: SimEndpoint, tmp_path: Path) -> None:
    """Of prompts of 1 024 shared tokens and 400 of their own, two thirds and more are cached after the first."""
    kept = tmp_path / "run.json"
    load = "at_a_time=1,requests=8,prefixes=1,prefix_tokens=1024,prompt_tokens=1424,output_tokens=2,spread=0"
    bench(endpoint.url, "--load", load, "--save", str(kept), "--warm-up", "1", "--seed", "5")
    share = read_run(kept).figures().cached_share
    assert share is not None
    assert 0.65 < share < 0.75


def test_chats_and_agents_find_their_own_past_cached(endpoint: SimEndpoint, tmp_path: Path) -> None:
    """Each call has all before it as its beginning: far more than half of the tokens is cached, agents' all but all."""
    chats = "kind=chat,at_a_time=2,requests=10,think_s=0.01,output_tokens=5,spread=0"
    agents = "kind=agents,at_a_time=1,calls_least=12,calls_most=12,requests=12,tool_s=0.01,helpers=0.2"
    agents += ",helper_calls=2,output_tokens=4,tool_tokens=60,prefix_tokens=1024"
    for name, load, least in (("chat", chats, 0.5), ("agents", agents, 0.8)):
        kept = tmp_path / f"{name}.json"
        bench(endpoint.url, "--load", load, "--save", str(kept))
        figures = read_run(kept).figures()
        assert figures.requests == figures.answered >= 10
        assert figures.cached_share is not None
        assert figures.cached_share > least


def test_a_captured_and_a_recorded_trace_are_sent(endpoint: SimEndpoint, tmp_path: Path) -> None:
    """Both kinds of lines are sent at their times, with their lengths, and share what their blocks share."""
    recorded = tmp_path / "recorded.jsonl"
    lines = [
        {"timestamp": 1000 * number, "input_length": 600, "output_length": 3, "hash_ids": [1, 10 + number]}
        for number in range(4)
    ]
    recorded.write_text("\n".join(map(json.dumps, lines)))
    kept = tmp_path / "run.json"
    bench(endpoint.url, "--trace", str(recorded), "--speedup", "2", "--save", str(kept), "--seed", "11")
    run = read_run(kept)
    sent = sorted(run.requests, key=lambda record: record.sent_s)
    assert [record.due_s for record in sent] == pytest.approx([0.0, 0.5, 1.0, 1.5], abs=0.01)
    assert [record.output_tokens for record in sent] == [3] * 4
    assert [(record.cached_tokens or 0) >= 480 for record in sent] == [False, True, True, True]
    captured = tmp_path / "captured.jsonl"
    line = {"timestamp": 5.0, "model": "another", "chunks": [7], "ends": [4000], "bytes": 4000, "input_length": 900}
    captured.write_text(json.dumps({**line, "output_length": 4}))
    found = json.loads(bench(endpoint.url, "--trace", str(captured), "--json").stdout)
    assert found["figures"]["output_tokens"] == 4


def test_json_has_every_figure_and_where_they_are_from(endpoint: SimEndpoint) -> None:
    """Programs get figures, the client's own part, and no energy where nobody measures it."""
    load = "rate=20,requests=10,prompt_tokens=50,output_tokens=4"
    found = json.loads(bench(endpoint.url, "--load", load, "--json").stdout)
    assert found["figures"]["answered"] == 10
    assert found["figures"]["counted"] == {"usage": 10}
    assert found["energy"] is None
    assert found["mlperf"] is None
    assert 0 < found["client"]["cpu_share"] < 1
    assert found["prompts"]["is_measured"]


def test_two_runs_are_compared(endpoint: SimEndpoint, tmp_path: Path) -> None:
    """A prompt four times as long is a worse time to the first token by about four, and no worse time per token."""
    files = [tmp_path / "short.json", tmp_path / "long.json"]
    for file, tokens in zip(files, (200, 800), strict=True):
        load = f"at_a_time=1,requests=10,prompt_tokens={tokens},output_tokens=4,spread=0"
        bench(endpoint.url, "--load", load, "--save", str(file), "--name", file.stem, "--seed", str(tokens))
    changes = json.loads(bench("--compare", *map(str, files), "--json").stdout)
    named: dict[str, Any] = {change["name"]: change for change in changes}
    assert named["TTFT mean"]["verdict"] == "worse"
    assert 2.0 < named["TTFT mean"]["low"] < 4.5
    shown = bench("--compare", *map(str, files)).stdout
    assert "short → long" in shown
    assert re.search(r"TTFT mean.*worse", shown)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "say where to send a load"),
        (("URL", "--mlperf", "none"), "there are offline"),
        (("URL", "--trace", "x.jsonl", "--load", "rate=1"), "x.jsonl cannot be read|leave --load"),
        (("URL", "--accuracy"), "say --mlperf offline too"),
        (("URL", "--load", "rate=0"), "rate"),
    ],
)
def test_mistakes_are_told_before_anything_is_sent(endpoint: SimEndpoint, words: tuple[str, ...], told: str) -> None:
    """Options that are wrong or contradict one another end with code 2, in words."""
    ended = bench(*(endpoint.url if word == "URL" else word for word in words), code=2)
    assert re.search(told, ended.stderr.replace("\n", " "))


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("mlperf_loadgen", ("--mlperf", "server")),
        ("matplotlib", ("--png", "x.png")),
        ("tokenizers", ("--tokenizer", "x")),
    ],
)
def test_a_package_that_is_missing_is_named_before_anything_is_sent(
    endpoint: SimEndpoint, tmp_path: Path, missing: str, words: tuple[str, ...]
) -> None:
    """Each optional package: one line that says how to install it, exit code 1, and no request."""
    (tmp_path / f"{missing}.py").write_text("raise ImportError('not here')\n")
    path = os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))
    before = endpoint.engine.metric("vllm:generation_tokens_total")
    command = [RACKSERVE, "bench", endpoint.url, *words]
    ended = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 1
    assert "pip install 'rackserve[bench]'" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert endpoint.engine.metric("vllm:generation_tokens_total") == before


def test_ctrl_c_ends_a_run_with_what_there_is(endpoint: SimEndpoint, tmp_path: Path) -> None:
    """SIGINT in a run of ten minutes: exit code 0, the answers that had ended, and the words that it ended early."""
    kept = tmp_path / "run.json"
    command = [RACKSERVE, "bench", endpoint.url, "--load", "at_a_time=2,prompt_tokens=20,output_tokens=4"]
    before = endpoint.engine.metric("vllm:generation_tokens_total")
    process = subprocess.Popen([*command, "--save", str(kept)], stdout=subprocess.PIPE, text=True)
    give_up_s = time.monotonic() + 60 * slowness()
    while endpoint.engine.metric("vllm:generation_tokens_total") < before + 20:
        assert time.monotonic() < give_up_s
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "ended early" in shown
    run = read_run(kept)
    assert not run.is_whole
    assert run.figures().answered >= 3


def test_nothing_there_is_one_line_and_code_1() -> None:
    """A dead address is told in one message."""
    ended = bench("http://127.0.0.1:9", code=1)
    assert "nothing answers" in ended.stderr
    assert "Traceback" not in ended.stderr
