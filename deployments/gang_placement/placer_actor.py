"""The placer: one small Ray actor that decides where gangs go, so that no two are given the same GPUs.

It may die at any time and start again from Ray's own tables. Only one fact is not in them: which gangs may take spares.
"""

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

import deployments.ray_api as ray_api
from cluster.errors import ClusterError
from cluster.placement.gang import Gang, PlacedGang, WhyNot
from cluster.placement.gang_ledger import GangLedger, Request, WantedGpus
from cluster.placement.node_labels import ACCELERATOR, NODE_GROUP
from deployments.gang_placement.live_cluster import live_nodes, standing_gangs

LOOK_S: Final = 0.25
"""Age, in seconds, up to which an answer of Ray is used again: many replicas may ask at once."""
LINGER_S: Final = 60.0
"""Seconds without a request after which the placer ends itself; the next request makes another.

It stays while spares are kept and gangs exist: only a placer that saw a gang before it lost a node knows that the gang
may take spares.
"""

_log = structlog.get_logger("rackserve.placer")


@dataclass(frozen=True, slots=True)
class WaitingGang:
    """A gang that waits for its place, as shown to people.

    Attributes:
        gang: the gang.
        message: what is missing.
        node_group: the node group that the autoscaler was asked to grow; "": any.
        waited_s: seconds since its first request.
    """

    gang: Gang
    message: str
    node_group: str
    waited_s: float


class Placer:
    """The actor. Its methods are its protocol; `deployments.gang_placement.placer` calls them.

    Args:
        linger_s: seconds without a request after which it ends itself.
    """

    def __init__(self, linger_s: float = LINGER_S) -> None:
        self._ledger = GangLedger()
        self._lock = asyncio.Lock()
        self._looked_s = -LOOK_S
        self._asked_s = time.monotonic()
        self._wanted: list[WantedGpus] = []
        threading.Thread(target=self._end_when_unused, args=(linger_s,), name="linger", daemon=True).start()

    async def ask(self, request: Request, spares_per_domain: int) -> PlacedGang | WhyNot:
        """Return the gang's place, or why it has none; see `PlacerClient.ask`."""
        async with self._lock:
            self._asked_s = time.monotonic()
            self._ledger.spares_per_domain = spares_per_domain
            await asyncio.to_thread(self._look)
            answer = self._ledger.ask(request, time.monotonic())
            if isinstance(answer, PlacedGang):
                _log.info("placed", gang=request.gang.name, gpus=request.gang.gpus)
            await asyncio.to_thread(self._ask_autoscaler)
            return answer

    async def stands(self, name: str) -> None:
        """Record that a gang's placement group exists: it may end before the next look at Ray shows it."""
        async with self._lock:
            self._ledger.stands(name)

    async def forget(self, name: str) -> None:
        """Withdraw a gang's request, or take back a place that it could not use."""
        async with self._lock:
            self._ledger.forget(name)
            await asyncio.to_thread(self._ask_autoscaler)

    async def waiting(self) -> Sequence[WaitingGang]:
        """Return the gangs that wait, the longest waiting first."""
        async with self._lock:
            await asyncio.to_thread(self._look)
            now_s = time.monotonic()
            waiting = sorted(self._ledger.waiting.values(), key=lambda each: each.since_s)
            return [
                WaitingGang(
                    each.request.gang, each.why.message, self._ledger.group_for(each), round(now_s - each.since_s, 1)
                )
                for each in waiting
            ]

    def _look(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_S:
            standing = standing_gangs()  # before the nodes: else a gang lost with its node would seem to be given back
            self._ledger.look(live_nodes(), standing, now_s)
            self._looked_s = now_s

    def _ask_autoscaler(self) -> None:
        wanted = self._ledger.wanted()
        if wanted == self._wanted:
            return
        try:
            ray_api.ask_autoscaler([(each.count, _labels(each)) for each in wanted])
        except ClusterError as error:
            _log.warning("the autoscaler was not asked", reason=str(error))
            return
        self._wanted = wanted

    def _end_when_unused(self, linger_s: float) -> None:
        while time.monotonic() - self._asked_s < linger_s or self._ledger.waiting or self._keeps_spares():
            time.sleep(linger_s / 10)
        ray_api.end_this_actor()

    def _keeps_spares(self) -> bool:
        try:
            return bool(self._ledger.spares_per_domain and standing_gangs())
        except ClusterError:
            return True


def _labels(wanted: WantedGpus) -> dict[str, str]:
    labels = {NODE_GROUP: wanted.node_group, ACCELERATOR: wanted.accelerator}
    return {key: value for key, value in labels.items() if value}
