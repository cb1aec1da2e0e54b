"""Yesterday's traffic, as gateways captured it: a policy, a pool and an SLO are tried on it before they are changed."""

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cluster.errors import TraceError
from cluster.spec.gateway_spec import CaptureSpec
from deployments.cli.main import app
from deployments.commands.simulate.command import Asked, Shown, simulate
from deployments.simulator.trace_file import read_trace
from router.estimator.expectation import Usage
from router.http.data_plane.capture import Capture
from router.prompt.chunk_chain import ChunkChain
from router.request import RoutingRequest
from tests.unit.deployments.twin.small_cluster import SIM

CHUNK_BYTES = 240
BEGINNINGS = 12
REQUESTS = 240


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that two gateways wrote: long prompts of two tenants with twelve beginnings, three a second."""
    seen = tmp_path / "seen"
    spec = CaptureSpec(path=str(seen), max_mb=0.02, files=64)
    gateways = [Capture(spec, f"gateway-{number}", ["ann", "bob"]) for number in range(2)]
    began_s = time.monotonic()
    for number in range(REQUESTS):
        # 48 000 bytes of beginning and 4 800 of its own, a token four bytes: 13 200 tokens.
        chunks = [1 + 1000 * (number % BEGINNINGS) + place for place in range(200)]
        chunks += [10**9 + 1000 * number + place for place in range(20)]
        ends = [CHUNK_BYTES * (place + 1) for place in range(len(chunks))]
        request = RoutingRequest(
            str(number), "chat", "/v1/completions", stream=True, body=b"", chain=ChunkChain(chunks, ends, ends[-1])
        )
        tenant = ("ann", "bob")[number % 3 == 0]
        gateways[number % 2].note(began_s + number / 3, request, tenant, Usage(ends[-1] // 4, 0, 20))
        if number % 40 == 39:
            for gateway in gateways:
                gateway._write_out()
    for gateway in gateways:
        gateway.close()
    return seen


def _file(folder: Path, name: str, **keys: Any) -> Path:  # noqa: ANN401 - what the cluster file takes
    tenants = [{"name": name, "key_sha256": key * 64} for name, key in (("ann", "a"), ("bob", "b"))]
    model = {"name": "chat", "engine": "sim", "sim": {**SIM, "kv_blocks": 2400}, "replicas": 4, **keys}
    file = folder / name
    file.write_text(json.dumps({"gateway": {"tenants": tenants}, "models": [model]}))
    return file


def _simulated(capsys: pytest.CaptureFixture[str], files: list[Path], folder: Path, sweep: str = "") -> Any:  # noqa: ANN401
    quiet = Console(file=io.StringIO())
    simulate(files, sweep, Asked(trace=folder), Shown(as_json=True, html=None, png=None, console=quiet, progress=quiet))
    return json.loads(capsys.readouterr().out)


def test_a_folder_of_several_gateways_is_one_trace(folder: Path) -> None:
    """All requests of all rotated files, in the order in which they came; the first ones where few are asked for."""
    assert len(list(folder.glob("*.jsonl"))) > 4
    trace = read_trace(folder)
    assert len(trace) == REQUESTS
    times = [each.timestamp for each in trace]
    assert times == sorted(times)
    assert times[-1] == pytest.approx((REQUESTS - 1) / 3 * 1000, abs=5)
    assert read_trace(folder, 50) == trace[:50]
    assert len({each.hash_ids[0] for each in trace}) == BEGINNINGS


def test_a_policy_is_tried_on_captured_traffic(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the same requests far more is cached, and first tokens come sooner, by cache affinity than in turns."""
    files = [_file(tmp_path, "now.yaml", policy="round_robin"), _file(tmp_path, "then.yaml", policy="expected_ttft")]
    now, then = _simulated(capsys, files, folder)
    assert now["all"]["answered"] == then["all"]["answered"] == REQUESTS
    assert then["all"]["cached_share"] > 1.5 * now["all"]["cached_share"]
    assert then["all"]["ttft_s"][0] < now["all"]["ttft_s"][0]
    assert now["tenants"]["bob"]["requests"] == REQUESTS / 3


def test_pools_and_an_slo_are_tried_on_captured_traffic(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prefill and decode apart serve the same requests; a stricter SLO is met by fewer of them."""
    pools = [
        {"name": "prefill", "role": "prefill", "replicas": 2},
        {"name": "decode", "role": "decode", "replicas": 2},
    ]
    apart = _simulated(capsys, [_file(tmp_path, "apart.yaml", pools=pools)], folder)
    assert apart["all"]["answered"] == REQUESTS
    runs = _simulated(capsys, [_file(tmp_path, "slo.yaml")], folder, "models.0.slo.ttft_s=0.05,2.0")
    strict, lenient = (run["all"]["in_time"] for run in runs)
    assert strict < lenient <= 1.0


def test_replay_takes_a_captured_folder(folder: Path) -> None:
    """`rackserve replay FOLDER` says the cache hits of its requests."""
    shown = CliRunner().invoke(app, ["replay", str(folder), "--replicas", "2", "--kv-blocks", "300", "--json"])
    assert shown.exit_code == 0, shown.output
    (found,) = json.loads(shown.stdout) if shown.stdout.lstrip().startswith("[") else [json.loads(shown.stdout)]
    assert found["requests"] == REQUESTS
    assert found["ideal_hit_ratio"] > 0.5


def test_a_folder_without_requests_is_told(tmp_path: Path) -> None:
    """An empty folder is a mistake, as an empty file is."""
    with pytest.raises(TraceError, match="no requests"):
        read_trace(tmp_path)


def test_a_bar_shows_how_far_a_run_is(folder: Path, tmp_path: Path) -> None:
    """On a terminal each run has its line with the number of its requests, which is gone when it ends."""
    screen = io.StringIO()
    progress = Console(file=screen, force_terminal=True, width=120)
    shown = Shown(as_json=False, html=None, png=None, console=Console(file=io.StringIO()), progress=progress)
    simulate([_file(tmp_path, "one.yaml")], "", Asked(trace=folder), shown)
    assert "one.yaml" in screen.getvalue()
    assert "requests" in screen.getvalue()
