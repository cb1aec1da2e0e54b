"""The directory: one small Ray actor that knows the cluster's replicas and gateways.

Kept apart from its clients so that its process imports little (no Ray Serve, no gRPC) and restarts fast after a death.
"""

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from cluster.errors import ClusterError
from deployments.directory.lease_table import LEASE_S, RENEW_S, LeaseTable
from deployments.directory.membership import Member, View
from deployments.directory.share_table import ShareTable
from router.flow_control.tenant_limits.limit_shares import Deal, LimitKey, Want

SWEEP_S: Final = 0.2
"""Least seconds between two checks of the leases: a dead member is gone within `LEASE_S` plus this."""
POLL_S: Final = 10.0
"""Seconds after which a watch returns even if nothing changed."""
LINGER_S: Final = 60.0
"""Seconds without members after which a directory ends itself: its application is gone, and the next makes its own."""


class Directory:
    """The actor. Its methods are its protocol; `deployments.directory.client` calls them.

    Args:
        lease_s: seconds that an announcement counts.
        linger_s: seconds without members after which the actor ends itself.
    """

    def __init__(self, lease_s: float = LEASE_S, linger_s: float = LINGER_S) -> None:
        self._lease_s = lease_s
        self._table = LeaseTable(secrets.token_hex(8), time.monotonic(), lease_s)
        self._shares = ShareTable(time.monotonic(), lease_s)
        self._changed: asyncio.Event | None = None
        self._sweeper: asyncio.Task[None] | None = None
        # A thread, because a restarted directory whose application is gone is never called, so no event loop runs.
        threading.Thread(target=self._end_when_unused, args=(linger_s,), name="linger", daemon=True).start()

    async def announce(self, member: Member) -> bool:
        """Give or renew a lease; False: this member has withdrawn."""
        return bool(self._change(lambda now_s: self._table.announce(member, now_s)))

    async def hold(self, member: Member, hold_s: float = RENEW_S) -> bool:
        """Give or renew a lease, and return after `hold_s` seconds; at once and False: this member has withdrawn.

        The caller keeps one such call under way. It fails at once when the directory dies, so that the member can
        announce itself to the next one.
        """
        if not await self.announce(member):
            return False
        await asyncio.sleep(hold_s)
        return True

    async def withdraw(self, key: str) -> None:
        """End a member's lease at once."""
        self._change(lambda now_s: self._table.withdraw(key, now_s))
        self._shares.forget(key)

    async def deal(self, gateway_id: str, wants: Mapping[LimitKey, Want], held: Mapping[LimitKey, float]) -> Deal:
        """Take what a gateway wants of the tenants' limits, and return its part of each that is in use."""
        return self._shares.deal(gateway_id, wants, held, time.monotonic())

    async def watch(self, epoch: str, version: int, poll_s: float = POLL_S) -> View:
        """Return the view once it differs from the caller's, or after `poll_s` seconds.

        Args:
            epoch: of the caller's view; "": the caller has none.
            version: of the caller's view.
            poll_s: longest wait.
        """
        self._change(self._table.advance)
        deadline_s = time.monotonic() + poll_s
        while True:
            view = self._table.view()
            remaining_s = deadline_s - time.monotonic()
            if (view.epoch, view.version) != (epoch, version) or remaining_s <= 0 or self._changed is None:
                return view
            changed = self._changed
            try:
                async with asyncio.timeout(remaining_s):
                    await changed.wait()
            except TimeoutError:
                continue

    def _change(self, change: Callable[[float], Any]) -> Any:  # noqa: ANN401 - what `change` returns
        if self._changed is None or self._sweeper is None:
            self._changed = asyncio.Event()
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep())
        before = self._table.version
        result = change(time.monotonic())
        if self._table.version != before:
            self._changed.set()
            self._changed = asyncio.Event()
        return result

    async def _sweep(self) -> None:
        # A lease that is given later ends later than `LEASE_S` from now, so nothing ends while this sleeps.
        while True:
            wait_s = self._table.next_end_s() - time.monotonic()
            await asyncio.sleep(min(max(wait_s, SWEEP_S), self._lease_s))
            self._change(self._table.advance)

    def _end_when_unused(self, linger_s: float) -> None:
        while True:
            time.sleep(linger_s / 10)
            if self._table.empty_for_s(time.monotonic()) >= linger_s:
                import deployments.ray_api as ray_api  # noqa: PLC0415 - only its last act needs it

                # Ray may be between two head nodes: then it is asked again, if nobody has come meanwhile.
                with contextlib.suppress(ClusterError):
                    ray_api.end_this_actor()
