"""Faults of a cluster without Ray: its engines, their links, its gateways, their disk and clock."""

import asyncio
import signal
from collections.abc import Sequence
from random import Random
from typing import Final

from tests.chaos.faults import SHORT_S, Strike
from tests.chaos.faulty_link import Link
from tests.chaos.standalone_cluster import GATEWAYS, StandaloneCluster

HANGS_S: Final = (1.0, 6.0)
"""Shortest and longest time that an engine hangs or its link is cut; what it had is moved after 3.5 s."""
GATEWAY_STOPS_S: Final = (0.2, 3.0)
CLOCK_JUMPS_S: Final = (-86_400.0, -3_600.0, -10.0, 10.0, 3_600.0, 86_400.0)
_BREAKS: Final = (Link.REFUSE, Link.HALF, Link.GARBAGE, Link.SLOW)
_HANGS: Final = (Link.CUT, Link.NO_ANSWERS, Link.NO_REQUESTS, Link.NEVER)
SILENCING: Final = frozenset({"engine stopped", "gateway stopped", *(f"link: {state}" for state in _HANGS)})
"""Kinds that silence something for seconds."""
DEADLY: Final = frozenset({"engine killed"})
"""Kinds that end engines."""


class StandaloneFaults:
    """The kinds, for two lanes of engines and one of gateways.

    Args:
        cluster: what they are done to.
    """

    def __init__(self, cluster: StandaloneCluster) -> None:
        self._cluster = cluster

    def of_engines(self, engines: Sequence[int]) -> dict[str, Strike]:
        """Return what is done to some of the engines and their links."""

        async def kill(rng: Random) -> str:
            number = rng.choice(engines)
            await self._cluster.end_engine(number, by=signal.SIGKILL)
            await asyncio.sleep(rng.uniform(*SHORT_S))
            await self._cluster.start_engine(number)
            return f"engine-{number}"

        async def stop_briefly(rng: Random) -> str:
            return await self._stopped(rng.choice(engines), rng.uniform(*SHORT_S))

        async def stop(rng: Random) -> str:
            return await self._stopped(rng.choice(engines), rng.uniform(*HANGS_S))

        kinds: dict[str, Strike] = {
            "engine killed": kill,
            "engine stopped": stop,
            "engine stopped briefly": stop_briefly,
        }
        for state in (*_BREAKS, *_HANGS):
            kinds[f"link: {state}"] = self._link(engines, state)
        return kinds

    def of_gateways(self) -> dict[str, Strike]:
        """Return what is done to gateways, to their disk, and to the clock of all."""

        async def kill(rng: Random) -> str:
            return await self._replaced(rng, signal.SIGKILL)

        async def end(rng: Random) -> str:
            return await self._replaced(rng, signal.SIGTERM)

        async def stop(rng: Random) -> str:
            number = rng.randrange(GATEWAYS)
            self._cluster.signal_gateway(number, signal.SIGSTOP)
            await asyncio.sleep(rng.uniform(*GATEWAY_STOPS_S))
            self._cluster.signal_gateway(number, signal.SIGCONT)
            return f"gateway-{number}"

        async def jump(rng: Random) -> str:
            shift_s = rng.choice(CLOCK_JUMPS_S)
            self._cluster.clock.jump(shift_s)
            await asyncio.sleep(rng.uniform(0.5, 2.0))
            self._cluster.clock.jump(0.0)
            return f"{shift_s:+g} s"

        async def fill(rng: Random) -> str:
            await asyncio.to_thread(self._cluster.disk.fill)
            await asyncio.sleep(rng.uniform(0.5, 2.0))
            self._cluster.disk.empty()
            return "disk"

        kinds: dict[str, Strike] = {
            "gateway killed": kill,
            "gateway ended": end,
            "gateway stopped": stop,
            "clock jumps": jump,
        }
        return kinds | ({"disk full": fill} if self._cluster.disk.is_real else {})

    def _link(self, engines: Sequence[int], state: Link) -> Strike:
        async def strike(rng: Random) -> str:
            number = rng.choice(engines)
            self._cluster.links[number].become(state)
            await asyncio.sleep(rng.uniform(*(HANGS_S if state in _HANGS else SHORT_S)))
            self._cluster.links[number].become(Link.PASS)
            return f"link-{number}"

        return strike

    async def _stopped(self, number: int, seconds: float) -> str:
        self._cluster.signal_engine(number, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._cluster.signal_engine(number, signal.SIGCONT)
        return f"engine-{number}"

    async def _replaced(self, rng: Random, by: signal.Signals) -> str:
        number = rng.randrange(GATEWAYS)
        await self._cluster.end_gateway(number, by=by)
        await self._cluster.start_gateway(number)
        return f"gateway-{number}"
