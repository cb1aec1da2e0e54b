"""How replicas and commands talk to the placer."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import deployments.ray_api as ray_api
from cluster.errors import ClusterError
from cluster.placement.gang import PlacedGang, WhyNot
from cluster.placement.gang_ledger import Request
from deployments.gang_placement.placer_actor import Placer, WaitingGang

ACTOR: Final = "placer"
"""Name of the placer's actor: one for the whole cluster, because its applications share the GPUs."""
CALL_TIMEOUT_S: Final = 10.0
"""Seconds after which a call without an answer has failed."""


class PlacerClient:
    """Calls the placer, and makes it if there is none; every method raises ClusterError while the placer is away."""

    def __init__(self) -> None:
        self._actor = ray_api.durable_actor(Placer, ACTOR, on_head=True)

    async def ask(self, request: Request, spares_per_domain: int) -> PlacedGang | WhyNot:
        """Return the gang's place, or why it has none (the caller then asks again every second).

        Args:
            request: the gang, and where it should go.
            spares_per_domain: nodes of each domain kept for gangs that lost one.
        """
        answer = await self._call("ask", request, spares_per_domain)
        if not isinstance(answer, PlacedGang | WhyNot):
            raise ClusterError(f"the placer answered with a {type(answer).__name__}")
        return answer

    async def stands(self, name: str) -> None:
        """Report that a gang's placement group exists on the nodes it was given."""
        await self._call("stands", name)

    async def forget(self, name: str) -> None:
        """Withdraw a gang's request, or return a place that it could not use."""
        await self._call("forget", name)

    async def _call(self, method: str, *args: Any) -> Any:  # noqa: ANN401 - the method's own
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await self._actor.call(method, *args)
        except TimeoutError as error:
            raise ClusterError(f"the placer did not answer {method} within {CALL_TIMEOUT_S} s") from error


def waiting_now() -> Sequence[WaitingGang]:
    """Return the gangs that wait for a place; empty if there is no placer, which ends itself when unused."""
    if ACTOR not in ray_api.actor_names():
        return ()
    found: Sequence[WaitingGang] = ray_api.existing_actor(ACTOR).call_now("waiting")
    return found
