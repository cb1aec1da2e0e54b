"""Takes over a changed operators' key from its file while the gateway runs."""

import asyncio
from typing import Protocol

import structlog

from cluster.errors import SpecError
from cluster.spec.gateway_spec import GatewaySpec
from deployments.gateway.admin_key import with_admin_key_read
from deployments.gateway.files_watch import FilesWatch

_log = structlog.get_logger("rackserve.gateway")


class TakesAdminKey(Protocol):
    """The part of a gateway that lets operators in."""

    def set_admin_key(self, key_sha256: str) -> None:
        """Let holders of exactly this operators' key in from now on."""
        ...


class AdminKeyWatch:
    """Looks at `admin_key_file` once a second, and gives the gateway the key's digest when the file has changed.

    A file that is empty or gone changes nothing: the old key stays valid, and the mistake is logged.

    Args:
        gateway: takes the key.
        spec: the gateway's spec, as it was before the key was read; it names the file.
    """

    def __init__(self, gateway: TakesAdminKey, spec: GatewaySpec) -> None:
        self._gateway = gateway
        self._spec = spec
        self._file = FilesWatch([spec.admin_key_file], self._take_over, "admin key watch")

    def start(self) -> None:
        """Begin to look, in the running event loop."""
        self._file.start()

    async def stop(self) -> None:
        """Look no more."""
        await self._file.stop()

    async def _take_over(self) -> None:
        try:
            read = await asyncio.to_thread(with_admin_key_read, self._spec)
        except SpecError as error:
            _log.warning("changed admin key not taken over; the one before stays valid", why=str(error))
            return
        self._gateway.set_admin_key(read.admin_key_sha256)
        _log.info("admin key taken over")
