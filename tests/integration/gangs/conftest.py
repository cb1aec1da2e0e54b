"""One Ray cluster of two GB300-like racks for all tests here."""

import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest

import deployments.ray_api as ray_api
from cluster.ray_settings import DEATH_TIMEOUTS
from tests.integration.cluster.running_application import free_port
from tests.integration.gangs.racks import Racks

HEAD_CPUS = 16
NODES = 18


@pytest.fixture(scope="package")
def racks() -> Iterator[Racks]:
    """Two racks of 18 nodes with 4 logical GPUs each, Ray Serve, and this process connected."""
    ray_api.disconnect()  # from the cluster of other tests, if they came before: a process has one
    folder = tempfile.mkdtemp(prefix="rackserve-", dir="/tmp")
    settings = {**DEATH_TIMEOUTS, "RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0", "RAY_enable_autoscaler_v2": "1"}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    cluster = Racks(HEAD_CPUS)
    try:
        cluster.add("rack-0", NODES)
        cluster.add("rack-1", NODES)
        cluster.wait()
        ray_api.connect(cluster.address)
        ray_api.start_serve(free_port())
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
