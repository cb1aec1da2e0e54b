"""The simulated engine: vLLM's API and behaviour without a model, for clusters of dozens of replicas on a laptop."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from cluster.errors import EngineDeadError, EngineStartError
from cluster.spec.kv_duties import NO_DUTIES, KvDuties
from cluster.spec.model_parts.adapter_spec import AdapterSpec
from cluster.spec.model_spec import ModelSpec
from deployments.engines.events import KvEventHub
from deployments.engines.interface import AsgiApp, EngineStats
from deployments.engines.media.fetcher import MediaFetcher
from deployments.engines.rank_stats import whole_of
from deployments.engines.sim.app import SimApp
from deployments.engines.sim.generation.core import SimCore
from deployments.engines.sim.generation.drafting import drafting_of
from deployments.engines.sim.transfer.exchange import KvExchange
from deployments.tracing.wiring import app_spans, close
from router.replicas.adapter_report import AdapterReport
from router.replicas.kv_transfer import KvTransfer
from router.replicas.start_phases import StartPhases

CONNECTOR = "SimConnector"
"""The protocol of `transfer/side_channel`."""


class SimEngine:
    """Implements `interface.Engine` by simulation.

    Args:
        model: what to serve.
        duties: which KV blocks it passes on.
        host: the address of this machine, as other engines reach it.
        fetcher: fetches the media that prompts name by URL; None: one that obeys the model's `media`.
    """

    def __init__(
        self,
        model: ModelSpec,
        duties: KvDuties = NO_DUTIES,
        host: str = "127.0.0.1",
        fetcher: MediaFetcher | None = None,
    ) -> None:
        self._model = model
        self._duties = duties
        self._cores = [
            SimCore(
                model.sim,
                KvEventHub(model.sim.block_tokens),
                model.adapter_room,
                drafting_of(model.speculative, model.sim),
                model.kv_cache.offload.of_one_rank(model.parallel.data),
            )
            for _ in range(model.parallel.data)
        ]
        self._exchanges = [KvExchange(core, host) for core in self._cores] if duties else []
        self._spans = app_spans("rackserve-sim-engine", "llm_request")
        self._fetcher = fetcher or MediaFetcher(model.name, model.media)
        app = SimApp(self._cores, model, self._fetcher, self._exchanges)
        self._app: AsgiApp = self._spans.around(app) if self._spans is not None else app

    @property
    def app(self) -> AsgiApp:
        """The OpenAI-compatible app."""
        return self._app

    @property
    def ranks(self) -> int:
        """Its data-parallel ranks: a simulation each."""
        return len(self._cores)

    def kv_events(self, rank: int = 0) -> KvEventHub | None:
        """Return the events of a rank's prefix cache; None: the cache is off."""
        return self._cores[rank].events if self._model.sim.prefix_caching else None

    @property
    def transfer(self) -> KvTransfer | None:
        """What it can send and receive of its KV cache; None: nothing."""
        if not self._exchanges:
            return None
        spec = self._model.sim
        return KvTransfer(
            connector=CONNECTOR,
            sends=self._duties.sends,
            receives=self._duties.receives,
            block_tokens=spec.block_tokens,
            layout=f"{self._model.source or self._model.name}, {spec.chars_per_token:g} characters a token",
            bytes_per_token=spec.kv_bytes_per_token,
            lease_s=spec.transfer_lease_s,
        )

    def adapters(self, rank: int = 0) -> AdapterReport | None:
        """Return a rank's LoRA adapters now; None: it was started without room for any."""
        own = self._cores[rank].scheduler.adapters
        if not own.slots:
            return None
        return AdapterReport(own.known, own.held, own.slots, own.load_s, own.loads)

    async def set_adapters(self, adapters: Sequence[AdapterSpec]) -> None:
        """Serve exactly these adapters from now on, where there is room for any; their sources mean nothing here."""
        for core in self._cores:
            if core.scheduler.adapters.slots:
                core.scheduler.adapters.set_known(adapter.name for adapter in adapters)

    async def start(self) -> None:
        """Wait for the spec's `start_s`, then run.

        Raises:
            EngineStartError: no port could be opened for other engines.
        """
        await asyncio.sleep(self._model.sim.start_s)
        for exchange in self._exchanges:
            try:
                await exchange.open()
            except OSError as error:
                raise EngineStartError(f"no side channel for KV blocks: {error}") from error
        for core in self._cores:
            core.run()

    @property
    def start_phases(self) -> StartPhases:
        """The spec's `start_s`, as if all of it were loading."""
        return StartPhases(load_s=self._model.sim.start_s)

    def stats(self, rank: int | None = None) -> EngineStats:
        """Return a rank's state now, or that of all together."""
        found = whole_of([core.stats() for core in self._cores]) if rank is None else self._cores[rank].stats()
        return found if rank else replace(found, media=self._fetcher.report())

    async def check_health(self) -> None:
        """Check that the simulation runs.

        Raises:
            EngineDeadError: it was stopped, or never started.
        """
        if not all(core.alive for core in self._cores):
            raise EngineDeadError(f"the simulated engine of {self._model.name!r} is not running")

    async def stop(self) -> None:
        """Stop at once; running requests end with an error."""
        for core in self._cores:
            core.halt()
        for exchange in self._exchanges:
            await exchange.close()
        spans, self._spans = self._spans, None
        await close(spans)
