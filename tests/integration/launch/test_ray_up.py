"""`rackserve up` for real: Ray over SSH onto three machines, from one cluster file to an answer and back to nothing."""

import httpx
import pytest

from tests.integration.launch.launcher import Launcher
from tests.integration.launch.netns_hosts import NetnsHosts

MODELS = """
- {name: sim, engine: sim, replicas: 1, cpus: 0.1, gpus_per_replica: 4}
"""


def test_a_machine_that_cannot_be_reached_is_named_before_anything_starts(hosts: NetnsHosts) -> None:
    """A worker whose cable is out, and then a login that nobody has: the key at fault, exit code 2, nothing started."""
    launcher = Launcher(hosts, MODELS)
    hosts.cut(launcher.workers[1])
    ended = launcher.run("up", str(launcher.file))
    assert ended.returncode == 2, ended.stderr
    assert f"launch.workers[1].hosts[0]: {launcher.workers[1].address}: no login as 'root'" in ended.stderr
    assert "workers[0]" not in ended.stderr
    hosts.heal(launcher.workers[1])
    launcher.file.write_text(launcher.text.replace("user: root", "user: nobody-here"), encoding="utf-8")
    ended = launcher.run("up", str(launcher.file))
    assert ended.returncode == 2
    assert f"launch.head.address: {launcher.head.address}: no login as 'nobody-here'" in ended.stderr
    assert [host.processes() for host in hosts.hosts] == [[], [], []]


@pytest.mark.ray
def test_from_one_file_to_an_answer_and_back_to_nothing(hosts: NetnsHosts) -> None:
    """Up, ask, cut the link of the worker that serves, ask until another does, heal, up again, down."""
    launcher = Launcher(hosts, MODELS)
    assert launcher.up() == launcher.url
    assert launcher.chat("sim").json()["usage"]["completion_tokens"] == 8
    first = launcher.host_of("sim")
    assert first in launcher.workers
    hosts.cut(first)
    launcher.seconds_until_answered("sim", 120.0)
    second = launcher.host_of("sim")
    assert second in launcher.workers
    assert second is not first
    hosts.heal(first)
    before = launcher.replicas("sim")[0]["replica_id"]
    assert launcher.up() == launcher.url
    assert launcher.replicas("sim")[0]["replica_id"] == before
    launcher.down()
    assert [host.processes() for host in hosts.hosts] == [[], [], []]
    with pytest.raises(httpx.ConnectError):
        launcher.chat("sim")
