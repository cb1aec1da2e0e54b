"""Takes over changed tenants and keys from their files while the gateway runs."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import structlog

from cluster.errors import SpecError
from cluster.spec.gateway_spec import TenantSpec
from deployments.process.file_stamps import FileStamps

LOOK_EVERY_S: Final = 1.0
"""Seconds between two looks at the files."""

_log = structlog.get_logger("rackserve.gateway")


class TakesTenants(Protocol):
    """The part of a gateway that lets tenants in.

    Attributes:
        tenants_problem: why a change was not taken over, for operators; "": none is outstanding.
    """

    tenants_problem: str

    def set_tenants(self, tenants: Sequence[TenantSpec]) -> None:
        """Let exactly these tenants in from now on."""
        ...


class TenantsWatch:
    """Looks at files once a second, and gives the gateway the tenants that they list when one has changed.

    Files with a mistake change nothing: the old tenants and keys stay valid; the mistake is logged and told in /state.

    Args:
        gateway: takes the tenants.
        read: reads the files; returns the tenants with their keys' digests, and the files that say who they are.

    Raises:
        SpecError: the files have mistakes; lists all of them.
    """

    def __init__(self, gateway: TakesTenants, read: Callable[[], tuple[Sequence[TenantSpec], Iterable[str]]]) -> None:
        self._gateway = gateway
        self._read = read
        tenants, files = read()
        self._stamps = FileStamps(files)
        self._gateway.set_tenants(tenants)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, in the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._keep_looking(), name="tenants watch")

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if await asyncio.to_thread(self._stamps.have_changed):  # a file system may hang
                await self._take_over()

    async def _take_over(self) -> None:
        try:
            tenants, files = await asyncio.to_thread(self._read)
        except SpecError as error:
            self._gateway.tenants_problem = str(error)
            _log.warning("changed tenants not taken over; those before stay valid", why=str(error))
            return
        self._stamps.watch(files)
        self._gateway.tenants_problem = ""
        self._gateway.set_tenants(tenants)
        _log.info("tenants taken over", tenants=[tenant.name for tenant in tenants])
