"""The warmer: one small Ray actor for each application that has every node download what may run there."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import structlog

import deployments.ray_api as ray_api
from cluster.errors import ClusterError
from cluster.spec import cluster_file
from deployments.model_cache.cached_source import CachedSource
from deployments.model_cache.here import CacheState, warm_here
from deployments.model_cache.wanted import on_node, wanted_by

LOOK_S: Final = 2.0
"""Seconds between two looks for new nodes, and for models that the application has now."""
NODES_AT_ONCE: Final = 16
"""Nodes that download at the same time, so that a mirror or a shared disk is not swamped."""
RETRY_S: Final = 60.0
"""Seconds after which a node tries again what could not be had."""

_log = structlog.get_logger("rackserve.model_cache")


def kept_name(application: str) -> str:
    """Return the name under which an application's cluster file is kept for its warmer."""
    return f"warm/{application}"


@dataclass
class _Node:
    """A node: where it is, what it should have, how far it is, and when what failed there is tried again."""

    address: str
    sources: tuple[CachedSource, ...] = ()
    states: dict[str, CacheState] = field(default_factory=dict)
    retry_at_s: float = 0.0
    task: "asyncio.Task[None] | None" = None


class Warmer:
    """Warms the nodes of one application for as long as it is there: those that join later, too.

    Args:
        application: its name; what it wants is read from the cluster file that `start_warmer` kept.
    """

    def __init__(self, application: str) -> None:
        self._application = application
        self._nodes: dict[str, _Node] = {}
        # Threads of their own: asyncio's are few, and the next look needs one while all nodes download for an hour.
        self._threads = ThreadPoolExecutor(NODES_AT_ONCE, thread_name_prefix="warm")
        self._looks = 0
        # Here, so that it begins again where Ray restarts the actor, whose event loop runs this constructor.
        self._loop = asyncio.get_running_loop().create_task(self._run())

    async def look(self) -> int:
        """Return the number of looks for nodes so far."""
        return self._looks

    async def states(self) -> dict[str, list[CacheState]]:
        """Return what each node has and will have, by its address."""
        return {
            node.address: [node.states.get(source.name, CacheState(source.name)) for source in node.sources]
            for node in self._nodes.values()
            if node.sources
        }

    async def _run(self) -> None:
        while True:
            try:
                wanted = await asyncio.to_thread(self._wanted)
                self._start(wanted)
                self._looks += 1
            except ClusterError as error:
                _log.warning("cannot look for nodes", problem=str(error))
            await asyncio.sleep(LOOK_S)

    def _wanted(self) -> Mapping[str, tuple[str, tuple[CachedSource, ...]]]:
        """Return what each live node should have, with its address, by the node's id."""
        text = ray_api.kept_text(kept_name(self._application))
        wanted = wanted_by(cluster_file.load(text, self._application)) if text else ()
        return {
            machine.node_id: (machine.address, tuple(on_node(wanted, machine.labels, machine.gpus, machine.cpus)))
            for machine in ray_api.machines()
        }

    def _start(self, wanted: Mapping[str, tuple[str, tuple[CachedSource, ...]]]) -> None:
        for node_id in self._nodes.keys() - wanted.keys():
            gone = self._nodes.pop(node_id)
            if gone.task is not None:
                gone.task.cancel()
        for node_id, (address, sources) in wanted.items():
            node = self._nodes.setdefault(node_id, _Node(address))
            node.sources = sources
            if node.task is not None and not node.task.done():
                continue
            missing = [source for source in sources if self._is_to_do(node, source)]
            if missing:
                node.task = asyncio.create_task(self._warm(node_id, node, missing))

    @staticmethod
    def _is_to_do(node: _Node, source: CachedSource) -> bool:
        state = node.states.get(source.name)
        return state is None or (state.ready_s is None and time.monotonic() >= node.retry_at_s)

    async def _warm(self, node_id: str, node: _Node, sources: Sequence[CachedSource]) -> None:
        loop = asyncio.get_running_loop()
        is_left = threading.Event()

        def follow() -> None:
            for state in ray_api.stream_from_node(node_id, steps, list(sources)):
                if is_left.is_set():
                    return
                loop.call_soon_threadsafe(node.states.__setitem__, state.name, state)

        try:
            await loop.run_in_executor(self._threads, follow)
        except ClusterError as error:
            for source in sources:
                if not node.states.get(source.name, CacheState(source.name)).is_settled:
                    node.states[source.name] = CacheState(source.name, problem=str(error))
        finally:
            is_left.set()
        problems = [state for state in node.states.values() if state.problem]
        if problems:
            node.retry_at_s = time.monotonic() + RETRY_S
            _log.warning("models cannot be had", node=node.address, problems=[state.problem for state in problems])


def steps(sources: Sequence[CachedSource]) -> Iterator[CacheState]:
    """Warm the machine on which this runs; yield each step."""
    yield from warm_here(sources)
