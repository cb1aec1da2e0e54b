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
"""One for the whole cluster: its applications share the GPUs."""
CALL_TIMEOUT_S: Final = 10.0


class PlacerClient:
    """Calls the placer, which is made if there is none; every method raises ClusterError while it is away."""

    def __init__(self) -> None:
        self._actor = ray_api.durable_actor(Placer, ACTOR, on_head=True)

    async def ask(self, request: Request, spares_per_domain: int) -> PlacedGang | WhyNot:
        """Return the gang's place, or why it has none; ask again every second then."""
        answer = await self._call("ask", request, spares_per_domain)
        if not isinstance(answer, PlacedGang | WhyNot):
            raise ClusterError(f"the placer answered with a {type(answer).__name__}")
        return answer

    async def stands(self, name: str) -> None:
        """Tell it that a gang took the place it was given."""
        await self._call("stands", name)

    async def forget(self, name: str) -> None:
        """Take back a place that came to nothing, or a request."""
        await self._call("forget", name)

    async def _call(self, method: str, *args: Any) -> Any:  # noqa: ANN401 - the method's own
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await self._actor.call(method, *args)
        except TimeoutError as error:
            raise ClusterError(f"the placer did not answer {method} within {CALL_TIMEOUT_S} s") from error


def waiting_now() -> Sequence[WaitingGang]:
    """Return the gangs that wait; none where there is no placer, which lives only as long as somebody asks it."""
    if ACTOR not in ray_api.actor_names():
        return ()
    found: Sequence[WaitingGang] = ray_api.existing_actor(ACTOR).call_now("waiting")
    return found
