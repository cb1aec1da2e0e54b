"""MLPerf's LoadGen at the gateway alone, in front of a simulated engine."""

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from deployments.load.client.connection import Address, ConnectionPool
from deployments.load.client.endpoint import LoadEndpoint
from deployments.load.figures.measures import SloLimits
from deployments.load.mlperf.loadgen import LoadGenRun, LoadGenSeen
from deployments.load.mlperf.samples import LoadGenSample
from deployments.load.mlperf.scenarios import LoadGenPlan
from deployments.load.sessions.live_stream import LiveStream
from tests.integration.cluster.command import RACKSERVE
from tests.integration.load.conftest import SimEndpoint
from tests.integration.load.streaming_server import PlantedAnswer, StreamingServer
from tests.integration.load.test_bench_command import bench
from tests.machine_speed import slowness

pytest.importorskip("mlperf_loadgen", reason="LoadGen is not installed: make setup")
NS = 1e9


async def loadgen(  # noqa: PLR0913 - a scenario and its load
    scenario: str, url: str, samples: list[LoadGenSample], logs: Path, load: LiveStream, *, is_accuracy: bool = False
) -> LoadGenSeen:
    """Have LoadGen run a scenario."""
    pool = ConnectionPool(Address.of(url))
    plan = LoadGenPlan.of(scenario, load, SloLimits(), 0, len(samples), is_accuracy=is_accuracy)
    try:
        return await LoadGenRun(LoadEndpoint(pool, "planted"), samples, plan, logs).carry_out()
    finally:
        pool.close()


@pytest.mark.parametrize("scenario", ["server", "interactive", "single-stream", "offline"])
async def test_loadgen_and_our_records_tell_the_same(scenario: str, tmp_path: Path) -> None:
    """Each request is in both: mean times to the first token and per token agree within 20 ms."""
    samples = [LoadGenSample(f"question {number}", 8) for number in range(16)]
    load = LiveStream(rate=20.0, requests=20, at_a_time=64)
    async with StreamingServer(PlantedAnswer(0.1, 0.02)) as server:
        found = await loadgen(scenario, server.url, samples, tmp_path, load)
    records = found.seen.records
    assert len(records) == len(server.bodies) >= 20
    assert found.summary["Scenario"].replace(" ", "") == {"single-stream": "SingleStream", "offline": "Offline"}.get(
        scenario, "Server"
    )
    if scenario == "offline":
        told = {"Completed tokens per second", "Tokens per second"} & set(found.summary)
        assert told, found.summary
        return
    ours = {
        "Mean First Token latency (ns)": sum(record.ttft_s for record in records) / len(records),
        "Mean Time per Output Token (ns)": sum(record.tpot_s or 0.0 for record in records) / len(records),
    }
    for name, seconds in ours.items():
        # LoadGen counts from its schedule; its threads and ours wait for a core where the machine is busy.
        assert float(found.summary[name]) / NS == pytest.approx(seconds, abs=0.02 * slowness())
        assert seconds >= (0.1 if "First" in name else 0.02)


async def test_a_valid_result_wants_whole_answers(tmp_path: Path) -> None:
    """LoadGen knows no failures; a run with refused requests is not valid whatever it says."""
    samples = [LoadGenSample("question", 4)]
    async with StreamingServer(PlantedAnswer(status=503)) as server:
        found = await loadgen("offline", server.url, samples, tmp_path, LiveStream(requests=5))
    assert found.summary["Result is"] == "VALID"
    assert not found.is_valid


async def test_offline_opens_no_more_than_it_is_told(tmp_path: Path) -> None:
    """All come at once; no more than the bound are open at the server."""
    samples = [LoadGenSample("question", 4)]
    async with StreamingServer(PlantedAnswer(0.05)) as server:
        await loadgen("offline", server.url, samples, tmp_path, LiveStream(requests=30, at_a_time=6))
    assert server.most_open == 6


async def test_accuracy_asks_each_question_once_and_counts_right_answers(tmp_path: Path) -> None:
    """The server says "word" to everything: of three questions two have that in their answers."""
    samples = [LoadGenSample("one", 2, "word"), LoadGenSample("two", 2, "Paris"), LoadGenSample("three", 2, "WORD")]
    async with StreamingServer() as server:
        found = await loadgen("offline", server.url, samples, tmp_path, LiveStream(), is_accuracy=True)
    asked = sorted(body["messages"][-1]["content"] for body in server.bodies)
    assert asked == ["one", "three", "two"]
    assert found.right == pytest.approx(2 / 3)


def test_ctrl_c_ends_a_run_of_loadgen_in_words(endpoint: SimEndpoint) -> None:
    """LoadGen cannot be stopped: the process ends at once with code 130 and says that there are no figures."""
    load = "rate=10,seconds=600,prompt_tokens=20,output_tokens=3"
    command = [RACKSERVE, "bench", endpoint.url, "--mlperf", "server", "--load", load]
    before = endpoint.engine.metric("vllm:generation_tokens_total")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    give_up_s = time.monotonic() + 60 * slowness()
    while endpoint.engine.metric("vllm:generation_tokens_total") < before + 15:
        assert time.monotonic() < give_up_s
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "no figures of a part" in said
    assert "Traceback" not in said


def test_the_command_runs_a_scenario_and_keeps_its_logs(endpoint: SimEndpoint, tmp_path: Path) -> None:
    """`--mlperf server` prints LoadGen's verdict beside our figures; its own logs are where they were asked for."""
    load = "rate=10,requests=20,prompt_tokens=60,output_tokens=5,spread=0"
    words = ("--mlperf", "server", "--load", load, "--logs", str(tmp_path), "--json")
    found: dict[str, Any] = json.loads(bench(endpoint.url, *words).stdout)
    assert found["figures"]["answered"] == 20
    assert found["mlperf"]["scenario"] == "server"
    assert found["mlperf"]["summary"]["Min queries satisfied"] == "Yes"
    assert found["slo"] == {"ttft_s": 2.0, "tpot_s": 0.08}
    assert (tmp_path / "mlperf_log_summary.txt").exists()
    shown = bench(endpoint.url, "--mlperf", "offline", "--accuracy").stdout
    assert "of the answers are right" in shown
