"""How fast changes in the directory reach gateways, on real Ray."""

import asyncio
import statistics
import uuid

import pytest

from cluster.spec import GatewaySpec, ModelSpec
from deployments import ray_api
from deployments.directory import Announcement, Directory, DirectoryClient, actor_name, follow
from deployments.gateway_process import GatewayProcess
from deployments.membership import LastKnownReplicas, View
from router.snapshot import Endpoint
from tests.integration.cluster.running_application import eventually

FOLLOW_S = 0.1
CHANGES = 20


def replica(number: int) -> Endpoint:
    """Return the row of a replica; nothing needs to listen there."""
    return Endpoint(f"r{number}", model="m", host="127.0.0.1", http_port=1)


@pytest.fixture
def application(ray_cluster: str) -> str:  # noqa: ARG001 - must be up
    """Give a name nobody has a directory under."""
    return f"following-{uuid.uuid4().hex[:8]}"


async def test_gateways_follow_changes_within_100_ms(application: str) -> None:
    """A replica's coming or leaving is in the routing set of two gateways within 100 ms of its word (95 in 100)."""
    directory = DirectoryClient.of(application)
    processes = [
        GatewayProcess(
            GatewaySpec(host="127.0.0.1", port=0, admin_port=0),
            [ModelSpec(name="m", engine="sim")],
            gateway_id=f"g{number}",
            host="127.0.0.1",
            credential="x",
            directory=DirectoryClient.of(application),
        )
        for number in range(2)
    ]
    for process in processes:
        await process.start()

    async def all_know(*numbers: int) -> float:
        async def is_known() -> bool:
            states = [await process.state() for process in processes]
            known = [{row["replica_id"] for row in state["models"]["m"]["replicas"]} for state in states]
            return known == [{f"r{number}" for number in numbers}] * len(processes)

        return await eventually(f"both gateways know exactly {numbers}", is_known)

    try:
        await directory.announce(replica(0))
        await all_know(0)
        delays_s = []
        for number in range(1, CHANGES + 1):
            await directory.announce(replica(number))
            delays_s.append(await all_know(0, number))
            await directory.withdraw(f"r{number}")
            delays_s.append(await all_know(0))
    finally:
        for process in processes:
            await process.stop(0.1)
        ray_api.kill_actor(actor_name(application))
    print(f"followed in {statistics.median(delays_s) * 1e3:.1f} ms (median), {max(delays_s) * 1e3:.1f} ms (worst)")  # noqa: T201
    assert statistics.median(delays_s) < FOLLOW_S / 2
    assert sorted(delays_s)[int(len(delays_s) * 0.95) - 1] < FOLLOW_S


class Watcher:
    """Follows a directory and keeps what it heard."""

    def __init__(self, application: str) -> None:
        self.known = LastKnownReplicas()
        self.epochs: list[str] = []
        self._task = asyncio.create_task(follow(DirectoryClient.of(application), self._on_view))

    def _on_view(self, view: View) -> None:
        self.known.apply(view)
        self.epochs.append(view.epoch)

    async def until(self, *ids: str) -> float:
        """Wait until exactly these replicas are known; returns how long that took."""

        async def is_known() -> bool:
            return {endpoint.replica_id for endpoint in self.known.replicas} == set(ids)

        return await eventually(f"known: {ids}", is_known)

    async def stop(self) -> None:
        """Follow no longer."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def is_well() -> None:
    """Nothing is wrong."""


async def test_a_member_that_stops_talking_is_dropped_and_one_that_talks_is_kept(application: str) -> None:
    """Leases end five seconds after the last word; an announcement keeps its own alive."""
    watcher = Watcher(application)
    announcement = Announcement(DirectoryClient.of(application), replica(1), is_well)
    await DirectoryClient.of(application).announce(replica(2))
    try:
        await watcher.until("r1", "r2")
        assert 4.5 < await watcher.until("r1") < 7.0
        await announcement.withdraw()
        assert await watcher.until() < 1.0
    finally:
        await watcher.stop()
        ray_api.kill_actor(actor_name(application))


async def test_the_last_view_holds_while_the_directory_is_away(application: str) -> None:
    """A directory that comes back empty takes no replica away; one that leaves meanwhile is forgotten at once."""
    watcher = Watcher(application)
    announcement = Announcement(DirectoryClient.of(application), replica(1), is_well)
    try:
        await DirectoryClient.of(application).announce(replica(2))
        await watcher.until("r1", "r2")
        ray_api.kill_actor(actor_name(application), restart=True)

        async def is_restarted() -> bool:
            return len(set(watcher.epochs)) == 2

        await eventually("a directory with another epoch", is_restarted)
        await watcher.until("r1", "r2")  # r2 has not announced itself to the new one
        await announcement.withdraw()
        await watcher.until("r2")
        assert await watcher.until() < 7.0  # the new directory has settled without having heard of r2
    finally:
        await watcher.stop()
        ray_api.kill_actor(actor_name(application))


async def test_a_member_that_is_not_well_leaves(application: str) -> None:
    """When its health check fails, a replica leaves the directory at once and for good."""
    watcher = Watcher(application)
    sick = asyncio.Event()

    async def check() -> None:
        if sick.is_set():
            raise RuntimeError("sick")

    announcement = Announcement(DirectoryClient.of(application), replica(1), check)
    try:
        await watcher.until("r1")
        sick.set()
        assert await watcher.until() < 2.0
        assert await DirectoryClient.of(application).announce(replica(1)) is False
        await announcement.withdraw()
    finally:
        await watcher.stop()
        ray_api.kill_actor(actor_name(application))


async def test_a_directory_without_members_ends_itself(ray_cluster: str) -> None:  # noqa: ARG001 - must be up
    """Nothing stays behind on a cluster whose application is gone, even if nobody tidied up."""
    name = actor_name(f"lonely-{uuid.uuid4().hex[:8]}")
    client = DirectoryClient(ray_api.durable_actor(Directory, name, 0.5, 1.0))
    await client.announce(replica(1))
    assert name in ray_api.actor_names()

    async def is_gone() -> bool:
        return name not in ray_api.actor_names()

    await eventually("the directory ends", is_gone)
