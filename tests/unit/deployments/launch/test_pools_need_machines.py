"""Machines are looked for pool by pool, and what is lacking is told with the pool's name."""

from cluster.placement.gang_file import gangs_of_spec
from cluster.spec.cluster_file import load
from deployments.launch.application import Launch
from deployments.launch.missing_machines import missing_machines
from deployments.ray_api import Machine

SPEC = load(
    """
    models:
      - name: chat
        engine: sim
        gpus_per_replica: 1
        cpus: 1
        pools:
          - {name: small, replicas: 3}
          - {name: large, parallel: {tensor: 8}, accelerator: GB300, replicas: {min: 1, max: 2}, cpus: 2}
          - {name: none, gpus_per_replica: 0}
    """,
    "test",
)


def machine(gpus: int, kind: str = "H100") -> Machine:
    """Return a machine of one NVLink domain."""
    return Machine(kind, f"{kind}-machine", {"ray.io/accelerator-type": kind}, gpus, gpus, 8.0)


def test_only_the_pool_that_does_not_fit_is_missing() -> None:
    """Four H100s hold the small pool; the large one wants eight GB300s in one place."""
    missing = missing_machines(SPEC, [machine(4)])
    assert list(missing) == ["chat:large"]
    assert "GB300" in missing["chat:large"]
    assert missing_machines(SPEC, [machine(8), machine(8, "GB300")]) == {}


def test_gangs_are_those_of_each_pool() -> None:
    """Named for their pool, as large and of the kind that it says; a pool without GPUs has none."""
    found = gangs_of_spec(SPEC, "max")
    assert [(gang.name, gang.gpus, gang.accelerator) for gang in found.gangs] == [
        ("chat:small#0", 1, ""),
        ("chat:small#1", 1, ""),
        ("chat:small#2", 1, ""),
        ("chat:large#0", 8, "GB300"),
        ("chat:large#1", 8, "GB300"),
    ]
    assert {(gang.model, gang.pool, gang.label) for gang in found.gangs} == {
        ("chat", "small", "chat:small"),
        ("chat", "large", "chat:large"),
    }
    assert found.left_out == ("chat:none: its replicas take no GPU",)


def test_the_cpus_of_all_pools_are_reserved() -> None:
    """Three small replicas, two large ones at most, and one without a GPU."""
    assert Launch(SPEC).cpus_wanted == 3 * 1 + 2 * 2 + 1
