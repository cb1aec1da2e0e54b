"""How a member keeps its lease in a real directory, how often it says so, and what follows when either side fails."""

import asyncio
import time
from dataclasses import replace

import pytest

from cluster.errors import ClusterError
from deployments.directory.actor import Directory
from deployments.directory.client import CHECK_S, Announcement
from deployments.directory.lease_table import LEASE_S, RENEW_S
from deployments.directory.membership import Member, View
from router.replicas.endpoint import Endpoint
from tests.machine_speed import slowness

MEMBER = Endpoint("r1", model="m", host="127.0.0.1", http_port=1)


class InThisProcess:
    """The way to a directory, without Ray: it can die, as its process would, and be replaced."""

    def __init__(self) -> None:
        self.directory: Directory | None = Directory()
        self.calls = 0
        self._gone = asyncio.Event()

    async def hold(self, member: Member) -> bool:
        """Ask the directory that lives now; fail when it dies meanwhile, as Ray tells a caller."""
        self.calls += 1
        if self.directory is None:
            raise ClusterError("the actor is away")
        answer = asyncio.ensure_future(self.directory.hold(member))
        died = asyncio.ensure_future(self._gone.wait())
        await asyncio.wait({answer, died}, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        if not answer.done():
            answer.cancel()
            raise ClusterError("the actor died")
        return answer.result()

    async def withdraw(self, key: str) -> None:
        """End a lease."""
        if self.directory is not None:
            await self.directory.withdraw(key)

    async def view(self) -> View:
        """Return who the directory knows."""
        assert self.directory is not None
        return await self.directory.watch("", -1)

    def die(self) -> None:
        """End the directory with all calls that it holds."""
        self.directory = None
        self._gone.set()
        self._gone = asyncio.Event()


async def well() -> None:
    """Find nothing wrong."""


async def _seconds_until_known(way: InThisProcess, *, known: bool) -> float:
    began_s = time.monotonic()
    while bool((await way.view()).replicas) != known:
        assert time.monotonic() - began_s < 2 * LEASE_S
        await asyncio.sleep(0.01)
    return time.monotonic() - began_s


async def test_a_lease_is_kept_with_one_call_in_two_seconds() -> None:
    """A calm member is known at once, stays known beyond its lease, and calls no more often than renewals need."""
    way = InThisProcess()
    announcement = Announcement(way, MEMBER, well)
    assert await _seconds_until_known(way, known=True) < 0.5
    await asyncio.sleep(LEASE_S + 1.0)
    assert (await way.view()).replicas == (MEMBER,)
    assert way.calls <= (LEASE_S + 1.5) / RENEW_S + 1
    await announcement.withdraw()
    assert (await way.view()).replicas == ()


async def test_a_restarted_directory_hears_of_a_member_within_a_second() -> None:
    """The member's call fails when the directory dies, so it announces itself as soon as there is another."""
    way = InThisProcess()
    announcement = Announcement(way, MEMBER, well)
    await _seconds_until_known(way, known=True)
    way.die()
    await asyncio.sleep(0.3)
    way.directory = Directory()
    assert await _seconds_until_known(way, known=True) < 1.0 * slowness()
    await announcement.withdraw()


async def test_a_member_that_is_not_well_leaves_within_a_second_or_so() -> None:
    """Its health is checked while a call is held, not only when the lease is renewed."""
    is_well = True

    async def check() -> None:
        if not is_well:
            raise RuntimeError("the engine died")

    way = InThisProcess()
    announcement = Announcement(way, MEMBER, check)
    await _seconds_until_known(way, known=True)
    is_well = False
    assert await _seconds_until_known(way, known=False) < CHECK_S + 0.5 * slowness()
    await announcement.withdraw()


async def test_a_changed_row_is_known_after_a_renewal() -> None:
    """A gateway whose admin port changes tells so under its old id."""
    way = InThisProcess()
    announcement = Announcement(way, MEMBER, well)
    await _seconds_until_known(way, known=True)
    changed = replace(MEMBER, http_port=2)
    announcement.change(changed)
    began_s = time.monotonic()
    while (await way.view()).replicas != (changed,):
        assert time.monotonic() - began_s < (RENEW_S + 1.0) * slowness()
        await asyncio.sleep(0.01)
    await announcement.withdraw()


@pytest.mark.parametrize("lease_s", [0.6, 1.5])
async def test_a_silent_member_is_gone_when_its_lease_is_over(lease_s: float) -> None:
    """The directory sleeps until the first lease ends, and watchers learn of it at once."""
    directory = Directory(lease_s=lease_s)
    began_s = time.monotonic()
    await directory.announce(MEMBER)
    view = await directory.watch("", -1)
    while view.replicas:
        view = await directory.watch(view.epoch, view.version)
    assert lease_s <= time.monotonic() - began_s < lease_s + 0.25 * slowness()
