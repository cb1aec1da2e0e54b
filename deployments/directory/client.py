"""How members talk to the directory: a client, a lease that renews itself, and following changes.

The directory may die at any time: replicas and gateways announce themselves again at once, and gateways use their last
view until then.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import structlog

import deployments.ray_api as ray_api
from cluster.errors import ClusterError
from deployments.directory.actor import POLL_S, Directory
from deployments.directory.lease_table import RENEW_S
from deployments.directory.membership import Member, View, member_id
from router.flow_control.tenant_limits.limit_shares import Deal, LimitKey, Want

CALL_TIMEOUT_S: Final = 2.0
"""Seconds after which a call without an answer has failed; a watch may take `POLL_S` longer, a hold `RENEW_S`."""
CHECK_S: Final = 1.0
"""Seconds between two checks of a member's health: within them a member that is not well leaves the directory."""
RETRY_S: Final = 0.1
"""Pause, in seconds, before a failed call is repeated."""

_log = structlog.get_logger("rackserve.directory")


def actor_name(application: str) -> str:
    """Return the name of the directory of a Serve application."""
    return f"directory:{application}"


class DirectoryClient:
    """Calls the directory of one application; every method raises ClusterError while the directory is away."""

    def __init__(self, actor: ray_api.ActorRef) -> None:
        self._actor = actor

    @classmethod
    def of(cls, application: str) -> "DirectoryClient":
        """Return a client for members of `application`; makes the directory if there is none."""
        return cls(ray_api.durable_actor(Directory, actor_name(application)))

    async def announce(self, member: Member) -> bool:
        """Give or renew a member's lease; return False if the member has withdrawn before."""
        return bool(await self._call(CALL_TIMEOUT_S, "announce", member))

    async def hold(self, member: Member) -> bool:
        """Give or renew a member's lease and return after `RENEW_S`; return False if the member has withdrawn."""
        return bool(await self._call(RENEW_S + CALL_TIMEOUT_S, "hold", member))

    async def withdraw(self, key: str) -> None:
        """End a member's lease at once."""
        await self._call(CALL_TIMEOUT_S, "withdraw", key)

    async def deal(self, gateway_id: str, wants: Mapping[LimitKey, Want], held: Mapping[LimitKey, float]) -> Deal:
        """Tell what a gateway wants of the tenants' limits and holds; return its part of each that is in use."""
        dealt = await self._call(CALL_TIMEOUT_S, "deal", gateway_id, wants, held)
        if not isinstance(dealt, Deal):
            raise ClusterError(f"the directory answered with a {type(dealt).__name__}")
        return dealt

    async def watch(self, epoch: str, version: int) -> View:
        """Return the view once its epoch or version differs from the caller's, or after `POLL_S`."""
        view = await self._call(POLL_S + CALL_TIMEOUT_S, "watch", epoch, version)
        if not isinstance(view, View):
            raise ClusterError(f"the directory answered with a {type(view).__name__}")
        return view

    async def _call(self, timeout_s: float, method: str, *args: Any) -> Any:  # noqa: ANN401 - the method's own
        try:
            async with asyncio.timeout(timeout_s):
                return await self._actor.call(method, *args)
        except TimeoutError as error:
            raise ClusterError(f"the directory did not answer {method} within {timeout_s} s") from error


def view_now(application: str) -> View:
    """Return the directory's view, from a program that is not a member.

    Raises:
        ClusterError: there is no directory, or it does not answer.
    """
    view = ray_api.existing_actor(actor_name(application)).call_now("watch", "", -1)
    if not isinstance(view, View):
        raise ClusterError(f"the directory answered with a {type(view).__name__}")
    return view


class Membership(Protocol):
    """What a member needs of a directory: `DirectoryClient`, or anything else that keeps leases."""

    async def hold(self, member: Member) -> bool:
        """Give or renew a member's lease and return after `RENEW_S`; return False if the member has withdrawn."""
        ...

    async def withdraw(self, key: str) -> None:
        """End a member's lease at once."""
        ...


class Announcement:
    """Keeps a member's lease while the member is well; used from one event loop.

    Args:
        directory: where to announce the member.
        member: what to announce.
        check_health: awaited every `CHECK_S`; raises when the member is not well, which ends its lease.
    """

    def __init__(self, directory: Membership, member: Member, check_health: Callable[[], Awaitable[None]]) -> None:
        self._directory = directory
        self._member = member
        self._check_health = check_health
        self._task = asyncio.get_running_loop().create_task(self._renew(), name="lease")

    def change(self, member: Member) -> None:
        """Announce the same member with another row, within `RENEW_S`."""
        self._member = member

    async def withdraw(self) -> None:
        """End the lease for good. If the directory is away, the lease expires by itself."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._say_goodbye()

    async def _renew(self) -> None:
        key = member_id(self._member)
        call: asyncio.Task[bool] | None = None
        try:
            while True:
                try:
                    await self._check_health()
                except Exception as error:  # noqa: BLE001 - any failure means that no more requests should come here
                    _log.error("not well; leaving the directory", member=key, reason=repr(error))
                    await self._say_goodbye()
                    return
                if call is None:
                    call = asyncio.get_running_loop().create_task(self._directory.hold(self._member), name="hold")
                await asyncio.wait({call}, timeout=CHECK_S)
                if not call.done():
                    continue
                ended, call = call, None
                try:
                    if not ended.result():
                        await asyncio.sleep(CHECK_S)
                except ClusterError as error:
                    _log.warning("the directory is away", member=key, reason=str(error))
                    await asyncio.sleep(RETRY_S)
        finally:
            if call is not None:
                call.cancel()

    async def _say_goodbye(self) -> None:
        try:
            await self._directory.withdraw(member_id(self._member))
        except ClusterError as error:
            _log.warning("the directory is away; the lease ends by itself", reason=str(error))


async def follow(directory: DirectoryClient, on_view: Callable[[View], None]) -> None:
    """Call `on_view` with every new view, until cancelled; while the directory is away, nothing changes.

    Args:
        directory: what to watch.
        on_view: called with each view that differs from the one before.
    """
    epoch, version = "", -1
    away = False
    while True:
        try:
            view = await directory.watch(epoch, version)
        except ClusterError as error:
            if not away:
                _log.warning("the directory is away; going by the last view", reason=str(error))
            away = True
            await asyncio.sleep(RETRY_S)
            continue
        away = False
        if (view.epoch, view.version) != (epoch, version):
            epoch, version = view.epoch, view.version
            on_view(view)
