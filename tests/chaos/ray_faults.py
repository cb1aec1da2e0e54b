"""Faults of a cluster on Ray: replicas, pairs of prefill and decode, gateways, and the actors that steer them."""

import asyncio
import os
import signal
from contextlib import suppress
from random import Random
from typing import Final

from deployments.directory.membership import View
from tests.chaos.faults import SHORT_S, Strike
from tests.chaos.ray_cluster import RayCluster

HANGS_S: Final = (1.0, 6.0)
GATEWAY_STOPS_S: Final = (0.2, 3.0)
_ACTORS: Final = {"directory": "ray::Directory", "autoscaler": "ray::ScalingActor", "Serve": "ray::ServeController"}
SILENCING: Final = frozenset({"m stopped", "split stopped", "gateway stopped"})
"""Kinds that silence something for seconds."""
DEADLY: Final = frozenset({"m killed", "split killed"})
"""Kinds that end replicas."""


class RayFaults:
    """The kinds, for a lane of each model's replicas and one of gateways and actors.

    Args:
        cluster: what they are done to.
    """

    def __init__(self, cluster: RayCluster) -> None:
        self._cluster = cluster

    def of_replicas(self, model: str) -> dict[str, Strike]:
        """Return what is done to a model's replicas."""

        async def kill(rng: Random) -> str:
            replica_id, pid = await self._drawn(model, rng)
            os.kill(pid, signal.SIGKILL)
            await self._whole_again(replica_id)
            return replica_id

        async def stop(rng: Random) -> str:
            return await self._stopped(model, rng, HANGS_S)

        async def stop_briefly(rng: Random) -> str:
            return await self._stopped(model, rng, SHORT_S)

        return {f"{model} killed": kill, f"{model} stopped": stop, f"{model} stopped briefly": stop_briefly}

    def of_the_rest(self) -> dict[str, Strike]:
        """Return what is done to gateways, the directory, the scaling actor and Serve's controller."""

        async def kill_gateway(rng: Random) -> str:
            gateway_id, pid = await self._drawn_gateway(rng)
            await asyncio.to_thread(self._cluster.kill_gateway, pid)
            await self._whole_again(gateway_id)
            return gateway_id

        async def stop_gateway(rng: Random) -> str:
            gateway_id, pid = await self._drawn_gateway(rng)
            await _stop(pid, rng.uniform(*GATEWAY_STOPS_S))
            return gateway_id

        kinds: dict[str, Strike] = {"gateway killed": kill_gateway, "gateway stopped": stop_gateway}
        for name, title in _ACTORS.items():
            kinds[f"{name} killed"] = self._killed_actor(title)
            kinds[f"{name} stopped"] = self._stopped_actor(title)
        return kinds

    def _killed_actor(self, title: str) -> Strike:
        async def strike(rng: Random) -> str:
            pid = await self._pid_of(title)
            os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(rng.uniform(0.5, 3.0))
            await self._whole_again()
            return f"process {pid}"

        return strike

    def _stopped_actor(self, title: str) -> Strike:
        async def strike(rng: Random) -> str:
            pid = await self._pid_of(title)
            await _stop(pid, rng.uniform(*HANGS_S))
            return f"process {pid}"

        return strike

    async def _pid_of(self, title: str) -> int:
        return await asyncio.to_thread(self._cluster.pid_of, title)

    async def _drawn(self, model: str, rng: Random) -> tuple[str, int]:
        """Draw a replica that is there; return its id and process."""
        return await asyncio.to_thread(self._cluster.drawn, rng, lambda view: self._rows(view, model))

    async def _drawn_gateway(self, rng: Random) -> tuple[str, int]:
        return await asyncio.to_thread(
            self._cluster.drawn, rng, lambda view: [(row.gateway_id, row.admin_port) for row in view.gateways]
        )

    @staticmethod
    def _rows(view: View, model: str) -> list[tuple[str, int]]:
        return [(row.replica_id, row.http_port) for row in view.replicas if row.model == model]

    async def _stopped(self, model: str, rng: Random, seconds: tuple[float, float]) -> str:
        replica_id, pid = await self._drawn(model, rng)
        await _stop(pid, rng.uniform(*seconds))
        return replica_id

    async def _whole_again(self, without: str = "") -> None:
        await asyncio.to_thread(self._cluster.wait_until_whole, without)


async def _stop(pid: int, seconds: float) -> None:
    with suppress(ProcessLookupError):  # Serve may replace meanwhile what does not answer
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        os.kill(pid, signal.SIGCONT)
