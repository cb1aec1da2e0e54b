"""The placer: one small Ray actor that decides where gangs go, so that two of them never reach for the same GPUs.

It holds nothing that Ray's own tables do not, but for who may take spares: it may die at any time, and starts anew from
them.
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
"""What Ray said this long ago is still believed: many replicas may ask at once."""
LINGER_S: Final = 60.0
"""A placer that nobody has asked for this long ends itself; the next who asks makes another.

Not where spares are kept and gangs stand: only who saw a gang before its node was lost knows that it may take one.
"""

_log = structlog.get_logger("rackserve.placer")


@dataclass(frozen=True, slots=True)
class WaitingGang:
    """A gang that waits, for people.

    Attributes:
        gang: that waits.
        message: what is missing.
        node_group: the machines the autoscaler was asked for; "": any.
        waited_s: since it first asked.
    """

    gang: Gang
    message: str
    node_group: str
    waited_s: float


class Placer:
    """The actor. Its methods are its protocol; `deployments.gang_placement.placer` calls them."""

    def __init__(self, linger_s: float = LINGER_S) -> None:
        self._ledger = GangLedger()
        self._lock = asyncio.Lock()
        self._looked_s = -LOOK_S
        self._asked_s = time.monotonic()
        self._wanted: list[WantedGpus] = []
        threading.Thread(target=self._end_when_unused, args=(linger_s,), name="linger", daemon=True).start()

    async def ask(self, request: Request, spares_per_domain: int) -> PlacedGang | WhyNot:
        """Return the gang's place, or why it has none; ask again every second then."""
        async with self._lock:
            self._asked_s = time.monotonic()
            self._ledger.spares_per_domain = spares_per_domain
            await asyncio.to_thread(self._look)
            answer = self._ledger.ask(request, time.monotonic())
            if isinstance(answer, PlacedGang):
                _log.info("placed", gang=request.gang.name, gpus=request.gang.gpus)
            await asyncio.to_thread(self._tell_autoscaler)
            return answer

    async def stands(self, name: str) -> None:
        """Hear that a gang's placement group exists: nobody may look before it ends."""
        async with self._lock:
            self._ledger.stands(name)

    async def forget(self, name: str) -> None:
        """Take back a place that came to nothing, or a request."""
        async with self._lock:
            self._ledger.forget(name)
            await asyncio.to_thread(self._tell_autoscaler)

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
            standing = standing_gangs()  # before the nodes: else one that ends with its node would seem to be given up
            self._ledger.look(live_nodes(), standing, now_s)
            self._looked_s = now_s

    def _tell_autoscaler(self) -> None:
        wanted = self._ledger.wanted()
        if wanted == self._wanted:
            return
        try:
            ray_api.ask_autoscaler([(each.count, _labels(each)) for each in wanted])
        except ClusterError as error:
            _log.warning("the autoscaler was not told", reason=str(error))
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
