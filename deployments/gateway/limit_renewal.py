"""Keeps a gateway's part of the tenants' limits, so that they hold for the cluster whatever the number of gateways."""

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

import structlog

from cluster.errors import ClusterError
from router.flow_control.tenant_limits.limit_shares import Deal, LimitKey, Want

RENEW_S: Final = 0.5
"""Seconds between two calls while limits are in use here: a part follows the demand within two calls, as one gateway
gives up before another takes."""
IDLE_S: Final = 1.0
"""Seconds between two calls while none is."""

_log = structlog.get_logger("rackserve.gateway")


class DealsLimits(Protocol):
    """Who deals the limits out: the directory."""

    async def deal(self, gateway_id: str, wants: Mapping[LimitKey, Want], held: Mapping[LimitKey, float]) -> Deal:
        """Take what a gateway wants of the limits and holds, and return its part of each that is in use.

        Raises:
            ClusterError: it is away.
        """
        ...


class SharesLimits(Protocol):
    """A gateway that shares the tenants' limits with others."""

    @property
    def has_limits(self) -> bool:
        """Whether any tenant has limits."""
        ...

    def limit_wants(self) -> dict[LimitKey, Want]:
        """Return what it wants of each limit that is in use there."""
        ...

    def share_limits(self, deal: Deal) -> None:
        """Use these parts of the limits from now on."""
        ...


class LimitRenewal:
    """Renews a gateway's parts; used from one event loop. While the directory is away the gateway keeps its parts.

    Args:
        directory: deals the limits out.
        gateway_id: the gateway's id.
        gateway: whose parts they are.
    """

    def __init__(self, directory: DealsLimits, gateway_id: str, gateway: SharesLimits) -> None:
        self._directory = directory
        self._gateway_id = gateway_id
        self._gateway = gateway
        self._held: Mapping[LimitKey, float] = {}
        self._is_away = False
        self._is_used = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Renew again and again from now on."""
        self._task = asyncio.get_running_loop().create_task(self._keep_renewing(), name="limits")

    async def stop(self) -> None:
        """Renew no more. The directory frees the parts when the gateway withdraws."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def renew(self) -> None:
        """Tell what is wanted, once, and use what is dealt; nothing changes where no tenant has limits."""
        if not self._gateway.has_limits:
            return
        wants = self._gateway.limit_wants()
        self._is_used = bool(wants)
        try:
            deal = await self._directory.deal(self._gateway_id, wants, self._held)
        except ClusterError as error:
            if not self._is_away:
                _log.warning("the directory is away; keeping our part of the limits", reason=str(error))
            self._is_away = True
            return
        self._is_away = False
        self._held = deal.parts
        self._gateway.share_limits(deal)

    async def _keep_renewing(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S if self._is_used else IDLE_S)
            await self.renew()
