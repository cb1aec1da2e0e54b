"""A replica's own gang: requests its place, takes it, watches its nodes and gives it back."""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import structlog

from cluster.errors import ClusterError, GangLostError
from cluster.placement.gang import WhyNot
from cluster.placement.gang_ledger import Request
from cluster.placement.gang_of_model import gang_of_model
from cluster.spec.model_spec import ModelSpec
from deployments.engines.interface import GangPlace
from deployments.gang_placement.live_cluster import stand
from deployments.gang_placement.placer import PlacerClient

if TYPE_CHECKING:
    from deployments.ray_api import GangBundles

ASK_S: Final = 1.0
"""Seconds between two requests of a gang that waits for its place."""
STAND_S: Final = 15.0
"""Seconds after which a placement group that does not exist yet never will: something else has taken its GPUs.

Ray makes one of 72 GPUs in a tenth of a second.
"""

_log = structlog.get_logger("rackserve.gang")


class ReplicaGang:
    """The gang of one life of one replica; used in the replica's driver.

    Args:
        model: what the replica serves, as its pool runs it.
        replica_id: unique for this life of this replica.
        spares_per_domain: nodes of each domain kept for gangs that lost one.
        node_id: the node of the driver, this process.
        address: that node's address, as other nodes reach it.

    Attributes:
        domain: the NVLink domain of its first rank; "" before `acquire`, or if nodes have no such label.
    """

    def __init__(self, model: ModelSpec, replica_id: str, spares_per_domain: int, node_id: str, address: str) -> None:
        self._request = Request(gang_of_model(model, f"{model.label}#{replica_id}"), model.node_group, node_id)
        self._spares_per_domain = spares_per_domain
        self._address = address
        self._placer = PlacerClient()
        self._bundles: GangBundles | None = None
        self.domain = ""

    @property
    def place(self) -> GangPlace | None:
        """Where the gang's ranks are; None before `acquire`."""
        if self._bundles is None:
            return None
        return GangPlace(self._bundles.handle, self._address, self._bundles.nodes[0] == self._request.driver_node)

    async def acquire(self) -> None:
        """Wait for a place, without a time limit, and take it; if cancelled, withdraw the request."""
        try:
            await self._acquire()
        except asyncio.CancelledError:
            with contextlib.suppress(ClusterError):
                await self._placer.forget(self._request.gang.name)
            raise

    async def _acquire(self) -> None:
        said = ""
        while True:
            try:
                answer = await self._placer.ask(self._request, self._spares_per_domain)
                if isinstance(answer, WhyNot):
                    if answer.message != said:
                        _log.warning("waits for a place", gang=self._request.gang.name, why=answer.message)
                    said = answer.message
                else:
                    bundles, domain = await asyncio.to_thread(stand, answer)
                    if await asyncio.to_thread(bundles.wait, STAND_S):
                        self._bundles, self.domain = bundles, domain
                        with contextlib.suppress(ClusterError):
                            await self._placer.stands(self._request.gang.name)
                        return
                    await asyncio.to_thread(bundles.remove)
                    await self._placer.forget(self._request.gang.name)
                    _log.warning("the place was taken by others", gang=self._request.gang.name)
            except ClusterError as error:
                _log.warning("no answer about a place", gang=self._request.gang.name, reason=str(error))
            await asyncio.sleep(ASK_S)

    async def check(self) -> None:
        """Check that every rank has its node.

        Raises:
            GangLostError: a node is gone; the gang must be torn down whole.
        """
        if self._bundles is None:
            return
        broken = await asyncio.to_thread(self._bundles.why_broken)
        if broken:
            raise GangLostError(f"the gang {self._request.gang.name}: {broken}")

    async def release(self) -> None:
        """Give the gang's GPUs back; Ray does so by itself when this process ends."""
        bundles, self._bundles = self._bundles, None
        if bundles is not None:
            await asyncio.to_thread(bundles.remove)
