"""vLLM in the replica's process, with vLLM's own OpenAI-compatible app and all its endpoints.

`AsyncLLM` runs here; the model runs in the engine process that it starts. vLLM is not imported before `start`, because
it reads its environment at its import, and `start` sets that first.
"""

# ruff: noqa: PLC0415 - see above

import asyncio
import json
import os
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import structlog

from cluster.errors import EngineDeadError, EngineStartError, ModelSourceError, RackServeError
from cluster.spec.kv_duties import NO_DUTIES, KvDuties
from cluster.spec.model_parts.adapter_spec import AdapterSpec
from cluster.spec.model_spec import ModelSpec
from deployments.engines.engine_folder import EngineFolder, remove_abandoned
from deployments.engines.events import KvEventHub
from deployments.engines.interface import AnswerSeen, AsgiApp, EngineStats, GangPlace, PromptSeen
from deployments.engines.media.fetcher import MediaFetcher
from deployments.engines.openai_errors import openai_shaped
from deployments.engines.rank_stats import whole_of
from deployments.engines.start_clock import StartClock
from deployments.engines.token_texts import token_texts
from deployments.engines.vllm.adapters import VllmAdapters
from deployments.engines.vllm.args import parallel_words
from deployments.engines.vllm.env import engine_arguments, environment, is_cpu_build
from deployments.engines.vllm.kv.events import KvEventListener, endpoint_in
from deployments.engines.vllm.kv.offload import check_offloading
from deployments.engines.vllm.kv.offload_meter import OffloadMeter
from deployments.engines.vllm.kv.transfer import check_nixl, side_channel, transfer_of, uses_nixl, wants_checked_params
from deployments.engines.vllm.load import LoadMeter
from deployments.engines.vllm.processes.engine_process import FAILURE_FILE
from deployments.engines.vllm.ranks.asked_rank import AskedRanks
from deployments.engines.vllm.ranks.meeting import check_where_ranks_meet
from deployments.engines.vllm.serve_arguments import parsed
from deployments.engines.vllm.speculative import with_draft_found
from deployments.engines.vllm.warm_up import WarmUp
from deployments.models.hub import hub_problem_of
from deployments.models.source import resolve
from deployments.tracing.exporter import service_named
from deployments.tracing.wiring import flush_engine_spans
from router.replicas.adapter_report import AdapterReport
from router.replicas.kv_transfer import KvTransfer
from router.replicas.media_report import NO_MEDIA
from router.replicas.start_phases import StartPhases

if TYPE_CHECKING:
    from deployments.engines.vllm.plugin import IterationLogger, ObservedLLM

log = structlog.get_logger(__name__)

STOP_TIMEOUT_S = 5.0
"""Seconds that the engine's processes have to end by themselves before they are killed."""


class VllmEngine:
    """Implements `interface.Engine` with vLLM 0.32.

    Args:
        model: what to serve.
        place: where the replica's gang is; None: the engine runs on this machine.
        duties: which KV blocks it passes on.
        host: the address of this machine, as other engines reach it.
        fetcher: fetches the media that prompts name by URL; None: one that obeys the model's `media`.
    """

    def __init__(
        self,
        model: ModelSpec,
        place: GangPlace | None = None,
        duties: KvDuties = NO_DUTIES,
        host: str = "127.0.0.1",
        fetcher: MediaFetcher | None = None,
    ) -> None:
        self._model = model
        self._fetcher = fetcher or MediaFetcher(model.name, model.media)
        self._place = place
        self._duties = duties
        self._host = host
        self._transfer: KvTransfer | None = None
        self._adapters: VllmAdapters | None = None
        self._hubs = [KvEventHub() for _ in range(self.ranks)]
        self._meters = [LoadMeter() for _ in range(self.ranks)]
        self._listeners: list[KvEventListener] = []
        self._llm: ObservedLLM | None = None
        self._iterations: IterationLogger | None = None
        self._app: AsgiApp | None = None
        self._kv_capacity_tokens = 0
        self._step_tokens = 0
        self._drafts = False
        remove_abandoned()
        self._folder = EngineFolder()
        self._failure = self._folder.path / "failure"
        self._clock = StartClock(self._folder.path / "phases")

    @property
    def app(self) -> AsgiApp:
        """VLLM's own app.

        Raises:
            EngineDeadError: the engine has not been started.
        """
        if self._app is None:
            raise EngineDeadError(f"the engine of {self._model.name!r} has not been started")
        return self._app

    @property
    def ranks(self) -> int:
        """Its data-parallel ranks."""
        return self._model.parallel.data

    def kv_events(self, rank: int = 0) -> KvEventHub | None:
        """Return the events of a rank's prefix cache; None: there is no such cache, or `engine_args` use its events."""
        args = {key.replace("-", "_"): value for key, value in self._model.engine_args.items()}
        if "kv_events_config" in args or args.get("enable_prefix_caching") is False:
            return None
        return self._hubs[rank]

    @property
    def transfer(self) -> KvTransfer | None:
        """What it can send and receive of its KV cache; None: nothing."""
        return self._transfer

    @property
    def start_phases(self) -> StartPhases | None:
        """What its start went to; None: it has not started."""
        return self._clock.phases

    def adapters(self, rank: int = 0) -> AdapterReport | None:
        """Return a rank's LoRA adapters now; None: it was started without room for any."""
        return self._adapters.report(rank) if self._adapters is not None else None

    async def set_adapters(self, adapters: Sequence[AdapterSpec]) -> None:
        """Serve exactly these adapters from now on, where there is room for any."""
        if self._adapters is not None:
            await self._adapters.set(adapters)

    async def start(self) -> None:
        """Find the model, load it, and build the app.

        Raises:
            EngineStartError: an argument is wrong, or the engine did not start.
            ModelSourceError: the model's source is wrong, or the model could not be fetched.
        """
        cpu = is_cpu_build()
        side_channel_env = self._side_channel(cpu=cpu)
        source = await asyncio.to_thread(self._find)
        for name, value in (side_channel_env | environment(self._model, source, cpu=cpu)).items():
            if name in self._model.env:
                os.environ[name] = value
            else:
                os.environ.setdefault(name, value)
        os.environ[FAILURE_FILE] = str(self._failure)
        if self.kv_events() is not None:
            folder = self._folder.path
            self._listeners = [KvEventListener(hub, endpoint_in(folder, rank)) for rank, hub in enumerate(self._hubs)]
            for listener in self._listeners:
                listener.start()
        # In a thread, because it takes half a minute or more and this loop must answer health checks meanwhile.
        self._clock.begin()
        building = asyncio.ensure_future(asyncio.to_thread(self._build, source, cpu=cpu))
        try:
            args, llm = await asyncio.shield(building)
            self._llm = llm
            self._app = await self._build_app(args, llm)
            self._clock.built()
            await self._warm_up(self._app, llm)
            self._clock.ready()
        except asyncio.CancelledError:
            building.add_done_callback(_discard)
            await self.stop()
            raise
        except RackServeError:
            await self.stop()
            raise
        except Exception as exc:
            cause = self._failure.read_text().strip() if self._failure.exists() else str(exc)
            await self.stop()
            raise EngineStartError(f"vLLM did not start for {self._model.name!r}: {cause}") from exc
        # Again: when this start began, a killed engine's processes may still have been ending.
        await asyncio.to_thread(remove_abandoned)
        log.info("engine_started", model=self._model.name, kv_capacity_tokens=self._kv_capacity_tokens)

    def stats(self, rank: int | None = None) -> EngineStats:
        """Return a rank's state now, or that of all together."""
        if rank is None:
            return whole_of([self.stats(each) for each in range(self.ranks)])
        requests = self._llm.requests if self._llm is not None else None
        unfinished = len(requests.on(rank)) if requests is not None else 0
        # A scheduler's numbers are those of its last step; after the last request's abort there is no further step.
        said = self._iterations.schedulers.get(rank) if self._iterations is not None else None
        waiting = min(said.num_waiting_reqs + said.num_skipped_waiting_reqs if said is not None else 0, unfinished)
        usage = said.kv_cache_usage if said is not None else 0.0
        meter = self._meters[rank]
        # While blocks are kept for other engines, the scheduler goes on stepping, so its number is of now.
        keeps = self._transfer is not None and self._transfer.sends
        return EngineStats(
            running=unfinished - waiting,
            waiting=waiting,
            waiting_tokens=requests.tokens_to_prefill(rank) if requests is not None else 0,
            kv_usage=usage if unfinished or keeps else 0.0,
            kv_capacity_tokens=self._kv_capacity_tokens,
            prefill_tokens_per_s=meter.prefill_rate.per_s,
            decode_tokens_per_s=meter.decode_rate.per_s,
            step_tokens=self._step_tokens,
            speculation=meter.speculation.report() if self._drafts else None,
            steps=meter.steps.report(),
            media=NO_MEDIA if rank else self._fetcher.report(),
            fetches=self._iterations.fetch_stats(rank) if self._iterations is not None else None,
        )

    async def check_health(self) -> None:
        """Check that the engine's process works.

        Raises:
            EngineDeadError: it has died, or was stopped.
        """
        if self._llm is None:
            raise EngineDeadError(f"the engine of {self._model.name!r} is not running")
        if self._llm.errored:
            raise EngineDeadError(f"the engine of {self._model.name!r} has died; its log says why")

    async def stop(self) -> None:
        """End the engine's processes; running requests end with an error."""
        llm, self._llm = self._llm, None
        if llm is not None:
            await flush_engine_spans()
            await asyncio.to_thread(llm.shutdown, timeout=STOP_TIMEOUT_S)
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            await listener.stop()
        self._folder.remove()

    def _side_channel(self, *, cpu: bool) -> dict[str, str]:
        """Return the KV connector's environment variables, if there is one that needs any.

        Raises:
            EngineStartError: offloading cannot work here, the connector's package is missing, or no port is free.
        """
        arguments = engine_arguments(self._model, os.environ, cpu=cpu, duties=self._duties)
        check_offloading(arguments, self._model.kv_cache.offload, self._duties, cpu=cpu)
        if not uses_nixl(arguments.get("kv_transfer_config")):
            return {}
        check_nixl()
        return side_channel(self._host, self._model.parallel.data, cpu=cpu)

    def _find(self) -> str:
        """Return what vLLM loads: a folder's path, or a Hugging Face id that the hub has.

        Raises:
            EngineStartError: speculative decoding needs a package that is not installed.
            ModelSourceError: there is no such model, or draft model; told in seconds.
        """
        self._model = with_draft_found(self._model, os.environ)
        source = resolve(self._model.source)
        if not Path(source).is_absolute() and (problem := hub_problem_of(self._model, os.environ)):
            raise ModelSourceError(f"source {problem}")
        return source

    def _build(self, source: str, *, cpu: bool) -> tuple[Namespace, "ObservedLLM"]:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.executor.abstract import Executor

        from deployments.engines.vllm import plugin
        from deployments.engines.vllm.media_connector import CheckedMediaConnector
        from deployments.engines.vllm.parsers.reasoning_tokens import count_as_it_comes
        from deployments.engines.vllm.processes.coordinator import guard_coordinators

        CheckedMediaConnector.fetcher = self._fetcher
        guard_coordinators()
        count_as_it_comes()
        args = self._parse(source, cpu=cpu)
        engine_args = AsyncEngineArgs.from_cli_args(args)
        if self._place is not None:
            engine_args.distributed_executor_backend = "ray"
        elif cpu and engine_args.distributed_executor_backend is None and self._model.parallel.gpus == 1:
            # On a CPU vLLM would run the model in a third process to bind it to cores. We don't bind: 0.5 GB saved.
            engine_args.distributed_executor_backend = plugin.GuardedUniProcExecutor
        config = engine_args.create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)
        if self._place is not None:
            check_where_ranks_meet(self._place, config)
            config.parallel_config.placement_group = self._place.placement_group
        executor = Executor.get_class(config)
        fetches = [meter for _ in range(self.ranks) if (meter := OffloadMeter.of(config)) is not None]
        self._iterations = plugin.IterationLogger(self._meters, self._is_prefilling, fetches)
        with service_named("rackserve-vllm"):
            llm = plugin.ObservedLLM(
                vllm_config=config,
                executor_class=plugin.GUARDED.get(executor, executor),
                log_stats=not engine_args.disable_log_stats,
                log_requests=engine_args.enable_log_requests,
                usage_context=UsageContext.OPENAI_API_SERVER,
                stat_loggers=[lambda _config, _engine: self._iterations],
                aggregate_engine_logging=engine_args.aggregate_engine_logging,
            )
        self._transfer = transfer_of(config)
        self._drafts = config.speculative_config is not None
        llm.checks_remote_prompts = wants_checked_params(config)
        llm.follow_ranks(self.ranks)
        llm.on_prompt = self._on_prompt
        cache = config.cache_config
        texts = self._token_texts(llm) if self._listeners else None
        for hub in self._hubs:
            hub.has_tiers = bool(fetches)
            hub.token_texts, hub.block_tokens = texts, cache.block_size
        if self._listeners:
            llm.on_answer = self._on_answer
        # vLLM's number is of all ranks; one block of each is its null block, which never holds anything.
        self._kv_capacity_tokens = max(0, (cache.num_gpu_blocks or 0) // self.ranks - 1) * cache.block_size
        self._step_tokens = config.scheduler_config.max_num_batched_tokens
        return args, llm

    def _parse(self, source: str, *, cpu: bool) -> Namespace:
        words = {"model": source, "served-model-name": self._model.name}
        if self._listeners:
            events = {"enable_kv_cache_events": True, "publisher": "zmq", "endpoint": self._listeners[0].endpoint}
            words["kv-events-config"] = json.dumps(events)
        address = self._place.address if self._place is not None else ""
        parallel = parallel_words(self._model.parallel, address)
        arguments = engine_arguments(self._model, os.environ, cpu=cpu, duties=self._duties)
        return parsed(
            self._model, source, arguments, [*(f"--{name}={word}" for name, word in words.items()), *parallel]
        )

    async def _build_app(self, args: Namespace, llm: "ObservedLLM") -> AsgiApp:
        from starlette.exceptions import HTTPException
        from vllm.entrypoints.launchers.api_server.app_state import init_app_state
        from vllm.entrypoints.launchers.app import build_app

        await llm.reset_mm_cache()
        tasks = await llm.get_supported_tasks()
        app = build_app(args, tasks, llm.model_config)
        await init_app_state(llm, app.state, args, tasks)
        # vLLM's handlers end its own server through this when the engine is dead; here `check_health` reports that.
        lora = llm.vllm_config.lora_config
        if lora is not None:
            slots = lora.max_cpu_loras or lora.max_loras
            served = app.state.openai_serving_models
            most_rank = lora.max_lora_rank
            self._adapters = VllmAdapters(llm, served, slots=slots, most_rank=most_rank, copies=self.ranks)
        app.state.server = SimpleNamespace(should_exit=False)
        app.add_exception_handler(HTTPException, openai_shaped)
        app.middleware_stack = app.build_middleware_stack()  # built again: `build_app` built it without that handler
        built: AsgiApp = app
        return AskedRanks(built) if self.ranks > 1 else built

    async def _warm_up(self, app: AsgiApp, llm: "ObservedLLM") -> None:
        """Use each feature once, and leave no trace of it in caches and rates.

        Raises:
            EngineStartError: the engine's process did not survive it.
        """
        callbacks = llm.on_prompt, llm.on_answer
        llm.on_prompt = llm.on_answer = None
        tasks = await llm.get_supported_tasks()
        await WarmUp(app, self._model.name, tasks, ranks=self.ranks).run()
        if llm.errored:
            raise EngineStartError(f"the vLLM of {self._model.name!r} died at its first requests; its log says why")
        llm.on_prompt, llm.on_answer = callbacks
        await llm.reset_prefix_cache()
        for meter in self._meters:
            meter.forget()

    def _is_prefilling(self, rank: int) -> bool:
        return self._llm is not None and self._llm.requests.tokens_to_prefill(rank) > 0

    def _on_prompt(self, rank: int, prompt: PromptSeen) -> None:
        llm = self._llm
        if prompt.adapter and self._adapters is not None:
            self._adapters.used(prompt.adapter, rank)
        idle = llm is None or not llm.requests.on(rank)
        self._meters[rank].arrived(time.monotonic(), was_idle=idle)
        if self._hubs[rank]:
            self._hubs[rank].emit(prompt)

    def _on_answer(self, rank: int, answer: AnswerSeen) -> None:
        self._hubs[rank].emit(answer)

    def _token_texts(self, llm: "ObservedLLM") -> list[bytes] | None:
        try:
            return token_texts(llm.get_tokenizer().get_vocab())
        except Exception as exc:  # noqa: BLE001 - a tokenizer of any kind, or none: residency is then less exact
            log.warning("tokens_without_text", model=self._model.name, reason=str(exc))
            return None


def _discard(building: "asyncio.Future[tuple[Namespace, ObservedLLM]]") -> None:
    # The start was cancelled while a thread still built: the engine that it built must not stay.
    if not building.cancelled() and building.exception() is None:
        building.result()[1].shutdown(timeout=0)
