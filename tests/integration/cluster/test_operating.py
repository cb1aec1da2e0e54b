"""Commands that look at and change a running application on Ray, run as operators run them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from subprocess import CompletedProcess
from typing import TYPE_CHECKING

import pytest

import deployments.ray_api as ray_api
from cluster.errors import ClusterError
from deployments import app
from deployments.launch.application import Launch
from deployments.launch.missing_machines import missing_machines
from deployments.launch.running_spec import running_spec
from tests.free_ports import free_port
from tests.integration.cluster.command import RACKSERVE, Command, run
from tests.integration.cluster.conftest import LOGICAL_CPUS
from tests.integration.cluster.running_application import RunningApplication, sim_spec, wait_for

if TYPE_CHECKING:
    from deployments.launch.progress import Progress

AT_EIGHTY = {"COLUMNS": "80"}


@pytest.fixture(scope="module")
def launched(ray_cluster: str) -> Iterator[RunningApplication]:
    """An application as `serve --detach` leaves it: one replica of `org/chat`, one to three of `range`."""
    models = ({"name": "org/chat"}, {"name": "range", "replicas": {"min": 1, "max": 3}})
    spec = sim_spec(*models, name="operated")
    launch = Launch(spec, ray_cluster)
    application = RunningApplication(spec)
    try:
        launch.start()
        application.wait_until_ready()
        yield application
    finally:
        application.delete()


def rackserve(*words: str, timeout_s: float = 120.0) -> CompletedProcess[str]:
    """Run `rackserve` to its end, on a terminal of 80 columns."""
    return run(RACKSERVE, *words, env=AT_EIGHTY, timeout_s=timeout_s)


def ids(application: RunningApplication, model: str) -> set[str]:
    """Return the ids of a model's replicas."""
    return {endpoint.replica_id for endpoint in application.replicas(model)}


def test_every_command_that_looks_takes_the_clusters_address(launched: RunningApplication, ray_cluster: str) -> None:
    """One option for all; each shows what it shows by a gateway's URL."""
    (replica,) = ids(launched, "org/chat")
    asked = [("chat", "hello", "--model", "org/chat"), ("status",), ("top", "--once", "--interval", "0.2"), ("why",)]
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda words: rackserve(*words, "--address", ray_cluster), asked))
    assert [each.returncode for each in ended] == [0, 0, 0, 0], [each.stderr for each in ended]
    assert all(replica in each.stdout for each in ended[:3])
    assert rackserve("topology", "--address", ray_cluster).stdout == "no node has GPUs\n"


def test_scaling_starts_and_stops_replicas_and_restarts_none(launched: RunningApplication, ray_cluster: str) -> None:
    """From one to two: the first is the same one; to a range and back: the application goes on serving."""
    (first,) = ids(launched, "org/chat")
    told = rackserve("scale", "org/chat", "2", "--address", ray_cluster)
    assert told.returncode == 0, told.stderr
    assert "org/chat: 1 → 2 replicas" in told.stderr
    wait_for("two replicas", lambda: len(ids(launched, "org/chat")) == 2)
    assert first in ids(launched, "org/chat")
    assert rackserve("scale", "org/chat", "1:2", "--address", ray_cluster).returncode == 0
    kept = running_spec(launched.name)
    assert kept is not None
    assert (kept.model("org/chat").replicas.min, kept.model("org/chat").replicas.max) == (1, 2)
    assert rackserve("scale", "org/chat", "1", "--address", ray_cluster).returncode == 0
    wait_for("one replica", lambda: len(ids(launched, "org/chat")) == 1)
    assert launched.chat("org/chat").status_code == 200
    assert len(ids(launched, "range")) == 1


def test_what_cannot_be_scaled_is_told(
    launched: RunningApplication, ray_cluster: str, run_application: Callable[..., RunningApplication]
) -> None:
    """A model that nobody has, and an application that comes from elsewhere: where to scale it."""
    unknown = rackserve("scale", "rang", "2", "--address", ray_cluster)
    assert unknown.returncode == 1
    assert "did you mean range?" in unknown.stderr
    run_application({"name": "elsewhere"})  # without `rackserve serve`
    refused = rackserve("scale", "elsewhere", "2", "--address", ray_cluster)
    assert refused.returncode == 1
    assert "helm upgrade" in refused.stderr
    assert launched.status() == "RUNNING"


def test_logs_are_those_of_the_models_replicas(launched: RunningApplication, ray_cluster: str) -> None:
    """What a replica wrote when it was ready; of one replica by its id; of no other model."""
    (replica,) = ids(launched, "range")
    told = rackserve("logs", "range", "--address", ray_cluster)
    assert told.returncode == 0, told.stderr
    assert '"event": "ready"' in told.stdout
    assert replica in told.stdout
    assert "org/chat" not in told.stdout
    one = rackserve("logs", "range", "--replica", replica, "--lines", "1", "--address", ray_cluster)
    assert 1 <= len(one.stdout.splitlines()) <= 3  # one of each file
    wrong = rackserve("logs", "range", "--replica", "nope", "--address", ray_cluster)
    assert wrong.returncode == 1
    assert f"there is {replica}" in wrong.stderr


@pytest.mark.long
def test_logs_are_followed_until_interrupted(launched: RunningApplication, ray_cluster: str) -> None:
    """A replica that starts later is followed, too."""
    before = ids(launched, "range")
    with Command(RACKSERVE, "logs", "range", "--follow", "--address", ray_cluster, env=AT_EIGHTY) as command:
        command.wait_for_line(f'{{"replica": "{next(iter(before))}"')
        assert rackserve("scale", "range", "2:3", "--address", ray_cluster).returncode == 0
        (new,) = ids(launched, "range") - before
        command.wait_for_line(f"{new} ", timeout_s=30.0)


def test_a_replica_that_did_not_start_left_its_reason(ray_cluster: str) -> None:
    """None lives, so the logs are those of the last that ended."""
    spec = sim_spec({"name": "broken", "engine": "vllm", "source": "/no/such/folder"}, name="broken-app")
    application = RunningApplication(spec)
    ray_api.deploy(app.compose(spec), spec.cluster.name)
    try:
        wait_for(
            "a replica that has ended",
            lambda: any(not each.is_alive and each.pid for each in ray_api.replica_processes("broken-app", "broken")),
        )

        def is_told() -> bool:
            return "no such folder" in rackserve("logs", "broken", "--address", ray_cluster).stdout

        wait_for("the reason", is_told, 60.0)  # the last to end may have been stopped before it tried
        assert "broken-app: " in rackserve("status", "--address", ray_cluster).stdout  # without a directory yet
    finally:
        application.delete()


def test_missing_machines_are_told_while_a_cluster_may_grow(ray_cluster: str) -> None:
    """`serve` on a running cluster says within seconds what waits for what; `status` says it again."""
    spec = sim_spec({"name": "wants-gpus", "parallel": {"tensor": 8}}, {"name": "fits"}, name="waiting-app")
    assert set(missing_machines(spec, ray_api.machines())) == {"wants-gpus"}
    launch = Launch(spec, ray_cluster)
    seen: list[Progress] = []
    application = RunningApplication(spec)
    try:
        launch.start()
        launch.wait_until_ready(seen.append, lambda: bool(seen))
        assert "a replica wants 8 GPUs; Ray sees 0 GPUs on 1 machine" in seen[0].missing["wants-gpus"]
        wait_for("the directory", lambda: application.try_view() is not None)
        told = rackserve("status", "--address", ray_cluster).stdout
        assert "wants-gpus waits for machines that are not there: a replica wants 8 GPUs" in told
    finally:
        application.delete()


def test_this_machine_is_seen_as_ray_will_see_it(ray_cluster: str) -> None:
    """GPUs, CPUs and labels, found without a start, are those of the cluster that was started here."""
    del ray_cluster
    (started,) = ray_api.machines()
    found = ray_api.machine_here(ray_api.local_cpus(LOGICAL_CPUS))
    assert (found.gpus, found.cpus) == (started.gpus, started.cpus)
    own = {key: value for key, value in started.labels.items() if key != "ray.io/node-id"}
    assert dict(found.labels) == own


def test_a_machine_too_small_fails_before_anything_starts(ray_cluster: str) -> None:
    """A cluster that `serve` would start here alone cannot grow: one message, and nothing to stop."""
    del ray_cluster
    spec = sim_spec({"name": "wants-gpus", "parallel": {"tensor": 8}}, name="small", port=free_port())
    with pytest.raises(ClusterError, match=r"cannot run on this machine alone:\n  wants-gpus: a replica wants 8 GPUs"):
        Launch(spec).start()
