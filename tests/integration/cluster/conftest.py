"""One small Ray cluster for all tests here, and applications of sim engines on it."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

import deployments.ray_api as ray_api
from tests.free_ports import free_port
from tests.integration.cluster.running_application import RunningApplication, sim_spec

LOGICAL_CPUS = 16


@pytest.fixture(scope="package")
def ray_cluster() -> Iterator[str]:
    """Start a Ray cluster with Serve in a folder of its own; gives the address of its head."""
    folder = tempfile.mkdtemp(prefix="rackserve-", dir="/tmp")
    before = os.environ.get("RAY_TMPDIR")
    os.environ["RAY_TMPDIR"] = folder
    try:
        ray_api.start_local(LOGICAL_CPUS)
        ray_api.start_serve(free_port(), "127.0.0.1")
        yield ray_api.address()
    finally:
        ray_api.disconnect()
        if before is None:
            del os.environ["RAY_TMPDIR"]
        else:
            os.environ["RAY_TMPDIR"] = before
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def run_application(ray_cluster: str) -> Iterator[Callable[..., RunningApplication]]:  # noqa: ARG001 - must be up
    """Give a function that deploys a cluster of sim engines and waits until it serves; all end with the test."""
    running: list[RunningApplication] = []

    def run(*models: Mapping[str, Any], **gateway: Any) -> RunningApplication:  # noqa: ANN401 - spec values
        spec = sim_spec(*models, name=f"test-{time.monotonic_ns()}", **gateway)
        application = RunningApplication(spec)
        running.append(application)
        application.deploy(spec)
        application.wait_until_ready()
        return application

    yield run
    for application in running:
        application.delete()


@pytest.fixture(scope="module")
def shared_application(ray_cluster: str) -> Iterator[RunningApplication]:  # noqa: ARG001 - must be up
    """Two replicas of `org/alpha`, one of `beta`: for tests that leave it as they found it."""
    spec = sim_spec({"name": "org/alpha", "replicas": 2}, {"name": "beta"}, name=f"shared-{time.monotonic_ns()}")
    application = RunningApplication(spec)
    try:
        application.deploy(spec)
        application.wait_until_ready()
        yield application
    finally:
        application.delete()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts a Ray cluster."""
    for item in items:
        if "ray_cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.ray)
