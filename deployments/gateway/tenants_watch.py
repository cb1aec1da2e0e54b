"""Takes over changed tenants and keys from their files while the gateway runs."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import structlog

from cluster.errors import SpecError
from cluster.spec.gateway_spec import TenantSpec
from deployments.gateway.files_watch import FilesWatch

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
        self._files = FilesWatch(files, self._take_over, "tenants watch")
        self._gateway.set_tenants(tenants)

    def start(self) -> None:
        """Begin to look, in the running event loop."""
        self._files.start()

    async def stop(self) -> None:
        """Look no more."""
        await self._files.stop()

    async def _take_over(self) -> None:
        try:
            tenants, files = await asyncio.to_thread(self._read)
        except SpecError as error:
            self._gateway.tenants_problem = str(error)
            _log.warning("changed tenants not taken over; those before stay valid", why=str(error))
            return
        self._files.watch(files)
        self._gateway.tenants_problem = ""
        self._gateway.set_tenants(tenants)
        _log.info("tenants taken over", tenants=[tenant.name for tenant in tenants])
