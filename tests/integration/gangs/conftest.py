"""One Ray cluster of two racks of 72 GPUs for all tests here.

`--full-size` makes them of 18 nodes with 4 GPUs, as a GB300 rack is; without it, of half as many with twice the GPUs.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest

import deployments.ray_api as ray_api
from cluster.ray_settings import DEATH_TIMEOUTS, PACE
from tests.free_ports import free_port
from tests.integration.gangs.racks import GPUS_PER_NODE, Racks

HEAD_CPUS = 16
NODES = 18
"""Of a rack at full size."""


@pytest.fixture(scope="package")
def racks(request: pytest.FixtureRequest) -> Iterator[Racks]:
    """Two racks of nodes with logical GPUs, Ray Serve, and this process connected."""
    halved = 1 if request.config.getoption("--full-size") else 2
    ray_api.disconnect()  # from the cluster of other tests, if they came before: a process has one
    folder = tempfile.mkdtemp(prefix="rackserve-", dir="/tmp")
    settings = {
        **DEATH_TIMEOUTS,
        **PACE,
        "RAY_TMPDIR": folder,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_enable_autoscaler_v2": "1",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    cluster = Racks(HEAD_CPUS)
    try:
        for rack in ("rack-0", "rack-1"):
            cluster.add(rack, NODES // halved, gpus=GPUS_PER_NODE * halved)
        cluster.wait()
        ray_api.connect(cluster.address)
        ray_api.start_serve(free_port(), "127.0.0.1")
        yield cluster
    finally:
        ray_api.disconnect()
        cluster.shut_down()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        shutil.rmtree(folder, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts a Ray cluster."""
    for item in items:
        if "racks" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.ray)
