"""One Ray cluster of two racks of 72 GPUs for all tests here.

`--full-size` makes them of 18 nodes with 4 GPUs, as a GB300 rack is; without it, of half as many with twice the GPUs.
"""

from collections.abc import Iterator

import pytest

from tests.integration.gangs.racks import GPUS_PER_NODE, Racks, running_racks

HEAD_CPUS = 16
NODES = 18
"""Of a rack at full size."""


@pytest.fixture(scope="package")
def racks(request: pytest.FixtureRequest) -> Iterator[Racks]:
    """Two racks of nodes with logical GPUs, Ray Serve, and this process connected."""
    halved = 1 if request.config.getoption("--full-size") else 2

    def add(cluster: Racks) -> None:
        for rack in ("rack-0", "rack-1"):
            cluster.add(rack, NODES // halved, gpus=GPUS_PER_NODE * halved)

    with running_racks(HEAD_CPUS, add) as cluster:
        yield cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts a Ray cluster."""
    for item in items:
        if "racks" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.ray)
