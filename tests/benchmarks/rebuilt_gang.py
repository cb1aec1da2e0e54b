"""From a killed node to the first token of the rebuilt gang: a sim engine of TP 8 on two racks of real raylets."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import httpx

import deployments.ray_api as ray_api
from cluster.ray_settings import DEATH_TIMEOUTS, PACE
from tests.free_ports import free_port
from tests.integration.cluster.running_application import RunningApplication, sim_spec
from tests.integration.gangs.racks import Racks

LOOK_S = 0.05
LIMIT_S = 180.0


@dataclass(frozen=True, slots=True)
class RebuiltGang:
    """One run.

    Attributes:
        first_token_s: from the deployment to the first answer.
        left_directory_s: from the killed node until gateways were told not to use its replica.
        rebuilt_s: from the killed node to the first answer of the gang that took its place.
    """

    first_token_s: float
    left_directory_s: float
    rebuilt_s: float


def rebuilt_gang() -> dict[str, float]:
    """Stand a gang of two nodes up, kill one of them, and wait for the next answer; seconds."""
    folder = tempfile.mkdtemp(prefix="rackserve-", dir="/tmp")
    os.environ.update({**DEATH_TIMEOUTS, **PACE})
    os.environ.update(RAY_TMPDIR=folder, RAY_USAGE_STATS_ENABLED="0")
    racks = Racks(head_cpus=8)
    try:
        for rack in ("rack-0", "rack-1"):
            racks.add(rack, 2)
        racks.wait()
        ray_api.connect(racks.address)
        ray_api.start_serve(free_port(), "127.0.0.1")
        return asdict(_measured(racks))
    finally:
        ray_api.disconnect()
        racks.shut_down()
        shutil.rmtree(folder, ignore_errors=True)


def _measured(racks: Racks) -> RebuiltGang:
    model = {"name": "m", "parallel": {"tensor": 8}}
    spec = sim_spec(model, name="rebuilt", node_labels={"rackserve.io/role": "head"})
    application = RunningApplication(spec)
    started_s = time.monotonic()
    application.deploy(spec)
    application.wait_until_ready()
    _answer_after(application, "")
    first_token_s = time.monotonic() - started_s
    before = application.replicas("m")[0].replica_id
    killed_s = time.monotonic()
    racks.kill("rack-0-n1")
    _wait(lambda: before not in {endpoint.replica_id for endpoint in application.replicas("m")})
    left_s = time.monotonic() - killed_s
    _answer_after(application, before)
    return RebuiltGang(first_token_s, left_s, time.monotonic() - killed_s)


def _answer_after(application: RunningApplication, replica_id: str) -> None:
    def has_answered() -> bool:
        try:
            answer = application.chat("m", max_tokens=1)
        except httpx.HTTPError:
            return False
        return answer.is_success and answer.headers["x-rackserve-replica"] != replica_id

    _wait(has_answered)


def _wait(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"nothing after {LIMIT_S:g} s")
        time.sleep(LOOK_S)
