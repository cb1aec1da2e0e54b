"""What dies is replaced, and nobody notices: replicas and the directory."""

import os
import signal
import time
from collections.abc import Callable

import httpx
import psutil

import deployments.ray_api as ray_api
from deployments.directory.client import actor_name
from tests.integration.cluster.load import Load
from tests.integration.cluster.running_application import RunningApplication, wait_for

RunApplication = Callable[..., RunningApplication]


def listener(port: int) -> psutil.Process:
    """Return the process of this machine that listens on `port`."""
    pids = [c.pid for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr[1:] == (port,)]
    assert len(pids) == 1, pids
    return psutil.Process(pids[0])


def test_a_killed_replica_is_replaced_and_no_request_notices(run_application: RunApplication) -> None:
    """SIGKILL a replica: the next request succeeds, the directory drops it, and Serve restores the count."""
    application = run_application({"name": "m", "replicas": 2})
    before = application.replicas("m")
    process = listener(before[0].http_port)
    process.send_signal(signal.SIGKILL)
    for _ in range(10):
        answer = application.chat("m")
        assert answer.status_code == 200
        assert answer.headers["x-rackserve-replica"] == before[1].replica_id

    def is_restored() -> bool:
        now = {endpoint.replica_id for endpoint in application.replicas("m")}
        return len(now) == 2 and before[0].replica_id not in now

    wait_for("two replicas again", is_restored)
    known = {endpoint.replica_id for endpoint in application.replicas("m")}
    wait_for(
        "requests on the new replica",
        lambda: {application.chat("m").headers["x-rackserve-replica"] for _ in range(10)} == known,
        timeout_s=10.0,
    )


def test_no_process_of_a_killed_replica_is_left(ray_cluster: str) -> None:  # noqa: ARG001 - must be up
    """Engines may have processes of their own: Ray ends a killed worker's whole process group. Pinned behaviour."""

    class Parent:
        async def spawn(self) -> tuple[int, int]:
            import subprocess  # noqa: PLC0415 - in the actor's process

            return os.getpid(), subprocess.Popen(["sleep", "600"]).pid  # noqa: ASYNC220 - any child does

    actor = ray_api.durable_actor(Parent, "test-parent")
    parent, child = actor.call_now("spawn")
    try:
        assert psutil.Process(child).name() == "sleep"
        os.kill(parent, signal.SIGKILL)
        wait_for("the child ends", lambda: not psutil.pid_exists(child) or is_zombie(child), timeout_s=10.0)
    finally:
        ray_api.kill_actor("test-parent")


def is_zombie(pid: int) -> bool:
    """Tell whether a process has ended and only waits to be reaped."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_a_restarted_directory_is_nobodys_loss(run_application: RunApplication) -> None:
    """Kill the directory under load: no request fails, and soon the new one knows everybody again."""
    application = run_application({"name": "m", "replicas": 2})
    before = application.view()
    load = Load(application.url, "m")
    try:
        ray_api.kill_actor(actor_name(application.name), restart=True)

        def is_back() -> bool:
            view = application.try_view()
            return view is not None and view.epoch != before.epoch and view.settled

        wait_for("the directory is back and settled", is_back, timeout_s=20.0)
        time.sleep(0.5)
    finally:
        load.stop()
    assert load.failures == []
    assert load.answers > 50
    assert application.view().replicas == before.replicas
    assert application.view().gateways == before.gateways


def test_several_gateways_of_a_node_share_the_port(run_application: RunApplication) -> None:
    """Two gateway processes, one port: connections spread over both, each with its own admin port."""
    application = run_application({"name": "m"}, replicas=2)
    wait_for("two gateways", lambda: len(application.view().gateways) == 2)
    gateways = application.view().gateways
    assert {gateway.port for gateway in gateways} == {application.spec.gateway.port}
    assert len({gateway.admin_port for gateway in gateways}) == 2
    for _ in range(40):
        assert application.chat("m").is_success  # each on a connection of its own
    answered = [
        sum(row["count"] for row in httpx.get(f"http://127.0.0.1:{gateway.admin_port}/state").json()["outcomes"])
        for gateway in gateways
    ]
    assert sum(answered) >= 40
    assert min(answered) > 0
