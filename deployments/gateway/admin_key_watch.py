"""Takes over a changed operators' key from its file while the gateway runs."""

import asyncio
from typing import Final, Protocol

import structlog

from cluster.errors import SpecError
from cluster.spec.gateway_spec import GatewaySpec
from deployments.gateway.admin_key import with_admin_key_read
from deployments.process.file_stamps import FileStamps

LOOK_EVERY_S: Final = 1.0
"""Seconds between two looks at the file."""

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
        self._stamps = FileStamps([spec.admin_key_file])
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, in the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._keep_looking(), name="admin key watch")

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if not await asyncio.to_thread(self._stamps.have_changed):  # a file system may hang
                continue
            try:
                read = await asyncio.to_thread(with_admin_key_read, self._spec)
            except SpecError as error:
                _log.warning("changed admin key not taken over; the one before stays valid", why=str(error))
                continue
            self._gateway.set_admin_key(read.admin_key_sha256)
            _log.info("admin key taken over")
