"""Ray's head dies with all its processes, stays away for longer than Ray waits by itself, and comes back.

`HEAD_AWAY_S=3600` has it stay away for an hour: one client then asks about every second and a half.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import msgspec
import pytest
import yaml

from deployments.gateway.head_watch import HEAD_AWAY
from tests.chaos.history import Asked, Verdict, judged
from tests.integration.launch.launcher import Launcher
from tests.integration.launch.netns_hosts import Host, NetnsHosts
from tests.integration.launch.redis_program import find_redis, running_redis

MODEL = {"name": "m", "engine": "sim", "gpus_per_replica": 0, "cpus": 0.1, "sim": {"inter_token_s": 0.03}}
AWAY_S = float(os.environ.get("HEAD_AWAY_S", "75"))
"""Ray's own limit is 60 s: raylets, and all that runs on them, would have ended by then."""
RATE = ("--clients", "4") if AWAY_S < 300.0 else ("--clients", "1", "--pause-s", "0.5")
LIMIT_S = 1200 + AWAY_S
SETTLED_S = 120.0


class Asking:
    """Clients in a process of their own, where apps are, which ask gateways until the block ends.

    Args:
        hosts: the machines.
        file: where their history goes.
        gateways: the machines whose gateways they ask.
    """

    def __init__(self, hosts: NetnsHosts, file: Path, gateways: list[Host]) -> None:
        self._file = file
        at = [f"{host.link}={host.address}:8000" for host in gateways]
        command = [sys.executable, "-m", "tests.chaos.traffic", "--into", str(file), *RATE, *at]
        self._process = subprocess.Popen(hosts.command(*command), env=hosts.env(), stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ASKING\n"

    def stop(self) -> Verdict:
        """Ask no more; return what became of every request."""
        self._process.terminate()
        try:
            self._process.wait(90)
        finally:
            self._process.kill()
            assert self._process.stdout is not None
            self._process.stdout.close()
        return judged(msgspec.json.decode(self._file.read_bytes(), type=list[Asked]))


def until(what: str, holds: Callable[[], bool], within_s: float = SETTLED_S) -> None:
    """Wait until something holds; a gateway that does not answer yet does not."""
    ends_s = time.monotonic() + within_s
    while True:
        with suppress(httpx.HTTPError):
            if holds():
                return
        assert time.monotonic() < ends_s, f"waited {within_s:g} s in vain for: {what}"
        time.sleep(0.5)


def ids(launcher: Launcher, host: Host) -> set[str]:
    """Return the replicas that the gateway of a host knows and hears of."""
    rows = launcher.page(host, "state")["models"]["m"]["replicas"]
    return {row["replica_id"] for row in rows if row["report"]}


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.timeout(LIMIT_S)
def test_a_head_that_comes_back_takes_over_what_runs(hosts: NetnsHosts) -> None:
    """What the head knows is on its disk, as by default; `down` takes that away."""
    launcher = Launcher(hosts)
    _lose_the_head(hosts, launcher)
    launcher.down()
    assert [host.processes() for host in hosts.hosts] == [[], [], []]
    assert not (hosts.hosts[0].home / ".rackserve" / "gcs").exists()


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.timeout(LIMIT_S)
def test_a_head_whose_state_is_in_redis_takes_over_too(hosts: NetnsHosts) -> None:
    """`launch.env` names a Redis, which is then used in place of the disk."""
    found = find_redis()
    if isinstance(found, str):
        pytest.skip(found)
    with running_redis(hosts, found) as address:
        launcher = Launcher(hosts)
        launcher.set_env(RAY_gcs_storage="redis", RAY_REDIS_ADDRESS=address)
        _lose_the_head(hosts, launcher)
        assert not (hosts.hosts[0].home / ".rackserve" / "gcs").exists()
        launcher.down()


def _lose_the_head(hosts: NetnsHosts, launcher: Launcher) -> None:
    """Everything of the head is killed, and the same `rackserve up` brings it back: no request fails meanwhile.

    Requests go to the gateways of the other machines; the head's own is back with the head. Replicas and gateways are
    the same processes as before, status and /ready said what could not be done, and then more replicas can be had.
    """
    launcher.serve_instead([{**MODEL, "replicas": {"min": 2, "max": 2}}], replicas="every_node")
    launcher.up()
    head, first, second = hosts.hosts
    until("gateways on all machines", lambda: all(len(ids(launcher, host)) == 2 for host in hosts.hosts))
    before = ids(launcher, first)
    serving = {pid for host in launcher.workers for pid in host.pids("ray::ServeReplica")}
    assert len(serving) == 4, [host.processes() for host in hosts.hosts]
    asking = Asking(hosts, hosts.folder / "elsewhere.json", [first, second])
    try:
        head.kill_all()
        died_s = time.monotonic()
        until("word of the head", lambda: HEAD_AWAY in launcher.page(first, "ready")["reason"], 60.0)
        assert launcher.page(first, "ready")["ready"]
        told = launcher.run("status", "--url", f"http://{first.address}:8002")
        assert HEAD_AWAY in " ".join(told.stdout.split()), told
        while (away_s := time.monotonic() - died_s) < AWAY_S:
            time.sleep(min(30.0, AWAY_S - away_s))
            running = {pid for host in launcher.workers for pid in host.pids("ray::ServeReplica")}
            assert running >= serving, f"ended with the head {time.monotonic() - died_s:.0f} s away"
            assert launcher.page(first, "ready")["ready"]

        launcher.up()
        until("the head's word", lambda: not launcher.page(first, "state")["head_problem"], 60.0)
        until("the head's gateway", lambda: ids(launcher, head) == before)
        assert ids(launcher, first) == before

        spec = yaml.safe_load(launcher.text)
        spec["models"][0]["replicas"] = {"min": 3, "max": 3}
        launcher.file.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
        launcher.up()
        until("a third replica", lambda: len(ids(launcher, first)) == 3)
        assert ids(launcher, first) > before
        assert {pid for host in launcher.workers for pid in host.pids("ray::ServeReplica")} > serving
    finally:
        verdict = asking.stop()
        print(verdict)  # noqa: T201 - what pytest shows when something fails
    assert verdict.ends["finished"] > 50
    assert (verdict.failed, verdict.wrong, verdict.lost, verdict.open) == (0, 0, 0, 0), verdict
