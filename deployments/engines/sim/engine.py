"""The simulated engine: vLLM's API and behaviour without a model, for clusters of dozens of replicas on a laptop."""

import asyncio

from cluster.errors import EngineDeadError
from cluster.spec.cluster_spec import ModelSpec
from deployments.engines.events import KvEventHub
from deployments.engines.interface import AsgiApp, EngineStats
from deployments.engines.sim.app import SimApp
from deployments.engines.sim.generation.core import SimCore
from deployments.tracing.wiring import app_spans, close


class SimEngine:
    """Implements `interface.Engine` by simulation."""

    def __init__(self, model: ModelSpec) -> None:
        self._model = model
        self._kv_events = KvEventHub(model.sim.block_tokens)
        self._core = SimCore(model.sim, self._kv_events)
        self._spans = app_spans("rackserve-sim-engine", "llm_request")
        app = SimApp(self._core, model)
        self._app: AsgiApp = self._spans.around(app) if self._spans is not None else app

    @property
    def app(self) -> AsgiApp:
        """The OpenAI-compatible app."""
        return self._app

    @property
    def kv_events(self) -> KvEventHub | None:
        """The prefix cache's events; None: the cache is off."""
        return self._kv_events if self._model.sim.prefix_caching else None

    async def start(self) -> None:
        """Wait for the spec's `start_s`, then run."""
        await asyncio.sleep(self._model.sim.start_s)
        self._core.run()

    def stats(self) -> EngineStats:
        """Return the simulation's state now."""
        return self._core.stats()

    async def check_health(self) -> None:
        """Check that the simulation runs.

        Raises:
            EngineDeadError: it was stopped, or never started.
        """
        if not self._core.alive:
            raise EngineDeadError(f"the simulated engine of {self._model.name!r} is not running")

    async def stop(self) -> None:
        """Stop at once; running requests end with an error."""
        self._core.halt()
        spans, self._spans = self._spans, None
        await close(spans)
