"""How fast changes in the directory reach gateways, on real Ray."""

import asyncio
import statistics
import uuid

import httpx
import pytest

import deployments.ray_api as ray_api
from cluster.errors import ClusterError
from cluster.spec.gateway_spec import GatewaySpec
from cluster.spec.model_spec import ModelSpec
from deployments.directory.actor import Directory
from deployments.directory.client import Announcement, DirectoryClient, actor_name, follow
from deployments.directory.membership import LastKnownReplicas, View
from deployments.gateway.process import GatewayProcess
from router.replicas.endpoint import Endpoint
from tests.integration.cluster.running_application import eventually
from tests.machine_speed import slowness

FOLLOW_S = 0.1
CHANGES = 20


def replica(number: int) -> Endpoint:
    """Return the row of a replica; nothing needs to listen there."""
    return Endpoint(f"r{number}", model="m", host="127.0.0.1", http_port=1)


@pytest.fixture
def application(ray_cluster: str) -> str:  # noqa: ARG001 - must be up
    """Give a name nobody has a directory under."""
    return f"following-{uuid.uuid4().hex[:8]}"


async def directory_of(application: str) -> DirectoryClient:
    """Return a client of the application's directory, once that has started."""
    directory = DirectoryClient.of(application)

    async def answers() -> bool:
        try:
            await directory.watch("", -1)
        except ClusterError:
            return False
        return True

    await eventually("the directory answers", answers, timeout_s=60.0)
    return directory


async def test_gateways_follow_changes_within_100_ms(application: str) -> None:
    """A replica's coming or leaving is in the routing set of two gateways within 100 ms of its word (95 in 100).

    A machine busy with other things may hiccup: one calm round of three is enough to show it.
    """
    directory = await directory_of(application)
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

    rounds: list[float] = []
    try:
        await all_know()
        limit_s = FOLLOW_S * slowness()
        for start in range(0, 3 * CHANGES, CHANGES):
            delays_s = []
            for number in range(start, start + CHANGES):
                await directory.announce(replica(number))
                delays_s.append(await all_know(number))
                await directory.withdraw(f"r{number}")
                delays_s.append(await all_know())
            rounds.append(sorted(delays_s)[int(len(delays_s) * 0.95) - 1])
            print(f"followed in {statistics.median(delays_s) * 1e3:.1f} ms (median), {rounds[-1] * 1e3:.1f} ms (p95)")  # noqa: T201
            if rounds[-1] < limit_s:
                break
    finally:
        for process in processes:
            await process.stop(0.1)
        ray_api.kill_actor(actor_name(application))
    assert min(rounds) < limit_s


async def test_an_update_leaves_no_node_without_a_gateway(application: str) -> None:
    """An old gateway that is to stop goes on answering until a new one listens on its node; then it ends at once."""

    def gateway(node: str, settings: str) -> GatewayProcess:
        return GatewayProcess(
            GatewaySpec(host="127.0.0.1", port=0, admin_port=0),
            [ModelSpec(name="m", engine="sim")],
            gateway_id=f"{node}-{settings}",
            host="127.0.0.1",
            credential="x",
            node_id=node,
            settings=settings,
            directory=DirectoryClient.of(application),
        )

    directory = await directory_of(application)
    old, elsewhere, successor = gateway("a", "old"), gateway("b", "new"), gateway("a", "new")
    started = [await process.start() for process in (old, elsewhere)]
    try:

        async def are_announced() -> bool:
            return len((await directory.watch("", -1)).gateways) == len(started)

        await eventually("both are announced", are_announced)
        leaving = asyncio.create_task(old.stop(0.1))
        await asyncio.sleep(0.5)
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{started[0].port}/v1/models")
        assert answer.is_success
        await successor.start()
        await asyncio.wait_for(leaving, 5.0)
    finally:
        for process in (elsewhere, successor):
            await process.stop(0.1)
        ray_api.kill_actor(actor_name(application))


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

        return await eventually(f"known: {ids}", is_known, timeout_s=30.0)

    async def stop(self) -> None:
        """Follow no longer."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def is_well() -> None:
    """Nothing is wrong."""


async def test_a_member_that_stops_talking_is_dropped_and_one_that_talks_is_kept(application: str) -> None:
    """Leases end five seconds after the last word; an announcement keeps its own alive."""
    directory = await directory_of(application)
    watcher = Watcher(application)
    announcement = Announcement(directory, replica(1), is_well)
    await directory.announce(replica(2))
    try:
        await watcher.until("r1", "r2")
        assert 4.0 < await watcher.until("r1") < 9.0
        await announcement.withdraw()
        assert await watcher.until() < 1.0 * slowness()
    finally:
        await watcher.stop()
        ray_api.kill_actor(actor_name(application))


async def test_the_last_view_holds_while_the_directory_is_away(application: str) -> None:
    """A directory that comes back empty takes no replica away; one that leaves meanwhile is forgotten at once."""
    directory = await directory_of(application)
    watcher = Watcher(application)
    announcement = Announcement(directory, replica(1), is_well)
    try:
        await directory.announce(replica(2))
        await watcher.until("r1", "r2")
        ray_api.kill_actor(actor_name(application), restart=True)

        async def is_restarted() -> bool:
            return len(set(watcher.epochs)) == 2

        await eventually("a directory with another epoch", is_restarted, timeout_s=60.0)
        await watcher.until("r1", "r2")  # r2 has not announced itself to the new one
        await announcement.withdraw()
        await watcher.until("r2")
        await watcher.until()  # the new directory has settled without having heard of r2
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

    directory = await directory_of(application)
    announcement = Announcement(directory, replica(1), check)
    try:
        await watcher.until("r1")
        sick.set()
        assert await watcher.until() < 3.0 * slowness()
        assert await directory.announce(replica(1)) is False
        await announcement.withdraw()
    finally:
        await watcher.stop()
        ray_api.kill_actor(actor_name(application))


async def test_a_directory_without_members_ends_itself(ray_cluster: str) -> None:  # noqa: ARG001 - must be up
    """Nothing stays behind on a cluster whose application is gone, even if nobody tidied up."""
    name = actor_name(f"lonely-{uuid.uuid4().hex[:8]}")
    ray_api.durable_actor(Directory, name, 0.5, 1.0).call_now("announce", replica(1), timeout_s=60.0)
    assert name in ray_api.actor_names()

    async def is_gone() -> bool:
        await asyncio.sleep(0.1)  # each look is a call of Ray's, and the directory has to get a core to end itself
        return name not in ray_api.actor_names()

    await eventually("the directory ends", is_gone)
