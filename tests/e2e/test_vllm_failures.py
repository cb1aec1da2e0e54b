"""A real engine's requests are aborted when clients leave; a killed replica costs nobody their answer."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from openai import OpenAI

from deployments.engines.engine_folder import OWNER, PREFIX
from tests.e2e.conftest import MODEL, RunningCluster, until
from tests.machine_speed import slowness

pytestmark = [pytest.mark.long, pytest.mark.vllm, pytest.mark.ray, pytest.mark.timeout(600)]


def _running(cluster: RunningCluster) -> int:
    """Return how many requests vLLM itself says it is running, on all replicas."""
    return sum(row["report"]["running"] + row["report"]["waiting"] for row in cluster.replicas() if row["report"])


def test_a_client_that_leaves_aborts_the_engines_request(cluster: RunningCluster, client: OpenAI) -> None:
    """Within a second of the disconnect vLLM's own running count is back at zero."""
    until(lambda: _running(cluster) == 0, 10, "an idle cluster")
    stream = client.completions.create(
        model=MODEL, prompt="Tell a long story.", max_tokens=4000, stream=True, extra_body={"ignore_eos": True}
    )
    for _ in range(3):
        next(stream)
    until(lambda: _running(cluster) == 1, 5, "vLLM to report the request")
    stream.close()
    left_s = time.monotonic()
    until(lambda: _running(cluster) == 0, 5, "vLLM to abort")
    # Reports come twice a second: the abort itself is faster than what is seen of it.
    assert time.monotonic() - left_s < 1.6 * slowness()


def test_a_killed_replica_costs_nothing(cluster: RunningCluster, client: OpenAI) -> None:
    """A stream whose replica is killed goes on elsewhere; the next requests succeed; Serve restores the count.

    The replica that takes its place removes what the killed engine left on the disk.
    """
    before = {row["replica_id"]: row["in_flight"] for row in cluster.replicas()}
    assert len(before) == 2
    whole = client.completions.create(
        model=MODEL, prompt="1, 2, 3, 4,", temperature=0, max_tokens=60, extra_body={"ignore_eos": True}
    )
    stream = client.completions.create(
        model=MODEL, prompt="1, 2, 3, 4,", temperature=0, max_tokens=60, stream=True, extra_body={"ignore_eos": True}
    )
    pieces = [next(stream).choices[0].text for _ in range(5)]
    [busy] = [row for row in cluster.replicas() if row["in_flight"]]
    killed = _process_listening_on(busy["http_port"])
    folder = _folder_of(killed)
    with contextlib.suppress(ProcessLookupError):
        os.kill(killed, signal.SIGKILL)
    pieces += [chunk.choices[0].text for chunk in stream]
    assert "".join(pieces) == whole.choices[0].text
    for _ in range(4):
        answer = client.completions.create(model=MODEL, prompt="5, 6,", temperature=0, max_tokens=4)
        assert answer.choices[0].text.startswith(" 7")
    until(lambda: busy["replica_id"] not in {row["replica_id"] for row in cluster.replicas()}, 30, "it to be forgotten")
    until(lambda: len(cluster.replicas()) == 2, 240, "Serve to restore the count")
    assert not folder.exists(), "its successor left the killed engine's folder where it was"


def _folder_of(process_id: int) -> Path:
    """Return the temporary folder of a replica's engine."""
    owners = Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{OWNER}")
    [found] = [owner.parent for owner in owners if owner.read_text() == str(process_id)]
    return found


def _process_listening_on(port: int) -> int:
    """Return the id of the process that listens on a port of this machine."""
    [found] = [
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
    ]
    assert found is not None
    return int(found)


def test_no_engine_outlives_its_replica(cluster: RunningCluster) -> None:
    """After the kill there are as many vLLM engine processes as replicas."""
    del cluster
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    engines = [line for line in listing.splitlines() if line.startswith("VLLM::EngineCore")]
    assert len(engines) <= 2, engines
