"""A replica's own gang: asked for, stood up, watched, given back."""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import structlog

from cluster.errors import ClusterError, GangLostError
from cluster.placement.gang import WhyNot
from cluster.placement.gang_ledger import Request
from cluster.placement.gang_of_model import gang_of_model
from cluster.spec.cluster_spec import ModelSpec
from deployments.engines.interface import GangPlace
from deployments.gang_placement.live_cluster import stand
from deployments.gang_placement.placer import PlacerClient

if TYPE_CHECKING:
    from deployments.ray_api import GangBundles

ASK_S: Final = 1.0
STAND_S: Final = 15.0
"""Ray makes a placement group of 72 GPUs in a tenth of a second; after this long somebody else has taken its GPUs."""

_log = structlog.get_logger("rackserve.gang")


class ReplicaGang:
    """The gang of one life of one replica.

    Args:
        model: what the replica serves.
        replica_id: this life of this replica.
        spares_per_domain: as the cluster file has it.
        node_id: the node this process is on.
        address: of that node, as other nodes reach it.

    Attributes:
        domain: the NVLink domain its first rank is in; "" before `acquire`, and where nodes have no such label.
    """

    def __init__(self, model: ModelSpec, replica_id: str, spares_per_domain: int, node_id: str, address: str) -> None:
        self._request = Request(gang_of_model(model, f"{model.name}#{replica_id}"), model.node_group, node_id)
        self._spares_per_domain = spares_per_domain
        self._address = address
        self._placer = PlacerClient()
        self._bundles: GangBundles | None = None
        self.domain = ""

    @property
    def place(self) -> GangPlace | None:
        """Where its ranks are; None before `acquire`."""
        if self._bundles is None:
            return None
        return GangPlace(self._bundles.handle, self._address, self._bundles.nodes[0] == self._request.driver_node)

    async def acquire(self) -> None:
        """Wait for a place, for as long as it takes, and take it; one that is cancelled waits no more."""
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
        """Return while every rank has its node.

        Raises:
            GangLostError: one is gone; the gang must be torn down whole.
        """
        if self._bundles is None:
            return
        broken = await asyncio.to_thread(self._bundles.why_broken)
        if broken:
            raise GangLostError(f"the gang {self._request.gang.name}: {broken}")

    async def release(self) -> None:
        """Give its GPUs back; Ray does so by itself when this process ends."""
        bundles, self._bundles = self._bundles, None
        if bundles is not None:
            await asyncio.to_thread(bundles.remove)
