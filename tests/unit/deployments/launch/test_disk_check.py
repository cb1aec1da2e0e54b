"""Machines without room for the weights are told of before anything starts."""

import subprocess
from pathlib import Path

from cluster.spec import cluster_file
from cluster.spec.cluster_spec import ClusterSpec
from cluster.spec.launch_spec import OnPremLaunch
from deployments.launch.disk_check import read_room, room_problems, room_script

TEXT = """
models:
- {name: r1, source: deepseek-ai/DeepSeek-R1, parallel: {tensor: 8}, replicas: 2}
- {name: own, source: org/unknown}
launch:
  provider: onprem
  ssh: {user: ubuntu, private_key: /key}
  env: {HF_HOME: %s}
  head: {address: 10.0.0.1}
  workers:
  - {name: boxes, hosts: [10.0.0.11, 10.0.0.12, 10.0.0.13], gpus: 8}
"""
KEYS = [f"launch.workers[0].hosts[{number}]" for number in range(3)]
R1 = "deepseek-ai/DeepSeek-R1"


def launched(home: object = "/shared") -> tuple[ClusterSpec, OnPremLaunch]:
    """Return the cluster file and its machines."""
    spec = cluster_file.load(TEXT % home, "f.yaml")
    assert isinstance(spec.launch, OnPremLaunch)
    return spec, spec.launch


def problems(*free_gb: float) -> list[str]:
    """Return what is wrong with so many GB free on each machine."""
    spec, launch = launched()
    room = {key: {R1: free * 1e9} for key, free in zip(KEYS, free_gb, strict=True)}
    return [f"{problem.path}: {problem.message}" for problem in room_problems(launch, spec, room)]


def test_as_many_machines_as_the_replicas_need_have_room() -> None:
    """Two replicas of 8 GPUs: two machines with room are enough, one is not; the short ones are named."""
    assert problems(900, 900, 900) == []
    assert problems(90, 900, 900) == []
    (problem,) = problems(90, 800, 120)
    assert problem.startswith(
        "models[0].source: deepseek-ai/DeepSeek-R1 takes 707 GB on the disk of each machine that serves it: "
        "10.0.0.11 has 90, 10.0.0.13 has 120; the machines with room have 8 of the 16 GPUs that it needs"
    )


def test_what_a_machine_did_not_say_is_no_reason() -> None:
    """A machine whose answer cannot be read is not refused."""
    spec, launch = launched()
    assert list(room_problems(launch, spec, {})) == []


def room_here(tmp_path: Path) -> dict[str, float]:
    """Return what the script says of this machine, between a login shell's own lines."""
    spec, launch = launched(tmp_path / "new" / "home")
    script = room_script(launch, [pool for pool in spec.in_pools() if pool.source == R1])
    ran = subprocess.run(["bash", "-c", f"echo Welcome; {script}"], capture_output=True, text=True, check=True)
    return read_room(ran.stdout)


def test_a_machine_says_what_room_it_has(tmp_path: Path) -> None:
    """Of the disk that the cache's folder will be on, though it is not there yet; none is needed for what is there."""
    (free,) = room_here(tmp_path).values()
    assert 0 < free < 1e18
    (tmp_path / "new/home/hub/models--deepseek-ai--DeepSeek-R1/snapshots/abc").mkdir(parents=True)
    assert room_here(tmp_path) == {R1: float("inf")}
