"""RackServe's subclasses of vLLM's own classes.

Imported by `engine.py` once the environment is set, and by the processes that vLLM starts.
"""

import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, NoReturn

import structlog
from vllm.config import VllmConfig
from vllm.outputs import CompletionOutput
from vllm.sampling_params import RequestOutputKind
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.executor.abstract import Executor
from vllm.v1.executor.multiproc_executor import MultiprocExecutor
from vllm.v1.executor.ray_executor_v2 import RayExecutorV2
from vllm.v1.executor.uniproc_executor import UniProcExecutor
from vllm.v1.metrics.loggers import StatLoggerBase
from vllm.v1.metrics.stats import IterationStats, SchedulerStats

from cluster.errors import EngineStartError
from deployments.engines.fetch_meter import FetchStats
from deployments.engines.interface import AnswerSeen, PromptSeen
from deployments.engines.remote_prompt import checked_params, is_to_be_fetched
from deployments.engines.vllm.load import NO_DRAFTS, LoadMeter, StepDrafts
from deployments.engines.vllm.offload_meter import OffloadMeter
from deployments.engines.vllm.process import settle_in

log = structlog.get_logger(__name__)


class GuardedUniProcExecutor(UniProcExecutor):
    """Runs the model in the engine's own process, which ends with the replica."""

    def __init__(self, vllm_config: VllmConfig) -> None:
        settle_in()
        super().__init__(vllm_config)


class GuardedMultiprocExecutor(MultiprocExecutor):
    """Runs the model in worker processes; they end with the engine's process, and that with the replica."""

    def __init__(self, vllm_config: VllmConfig, *args: object, **kwargs: object) -> None:
        settle_in()
        super().__init__(vllm_config, *args, **kwargs)


class GuardedRayExecutor(RayExecutorV2):
    """Runs the model in Ray actors; they end with the engine's process, and that with the replica.

    Rank `n` takes bundle `n` of the replica's placement group, whose bundles are in vLLM's order: by data-parallel
    rank, stage and tensor rank. By itself vLLM would sort bundles by node, and tensor groups would leave their domains.
    """

    def __init__(self, vllm_config: VllmConfig, *args: object, **kwargs: object) -> None:
        settle_in()
        parallel = vllm_config.parallel_config
        if parallel.placement_group is not None:
            first = parallel.data_parallel_index * parallel.world_size
            ranks = range(first, first + parallel.world_size)
            os.environ["VLLM_RAY_BUNDLE_INDICES"] = ",".join(map(str, ranks))
        super().__init__(vllm_config, *args, **kwargs)


GUARDED: dict[type[Executor], type[Executor]] = {
    UniProcExecutor: GuardedUniProcExecutor,
    MultiprocExecutor: GuardedMultiprocExecutor,
    RayExecutorV2: GuardedRayExecutor,
}
"""The class to use for each executor that vLLM may choose."""


class EngineArgParser(FlexibleArgumentParser):
    """vLLM's argument parser, which raises instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        """Raise argparse's message as an error.

        Raises:
            EngineStartError: always.
        """
        raise EngineStartError(f"engine_args: {message}")


class IterationLogger(StatLoggerBase):
    """Keeps the last report of each data-parallel rank's scheduler.

    Args:
        meter: measures the rates.
        prefilling: returns whether prompts are incomplete.
        fetches: measures what comes from below the device; None: nothing does.

    Attributes:
        schedulers: the last report by rank; a rank is missing before its first iteration.
        fetches: measures what comes from below the device; None: nothing does.
    """

    def __init__(self, meter: LoadMeter, prefilling: Callable[[], bool], fetches: OffloadMeter | None = None) -> None:
        self.schedulers: dict[int, SchedulerStats] = {}
        self.fetches = fetches
        self._meter = meter
        self._prefilling = prefilling

    def record(
        self,
        scheduler_stats: SchedulerStats | None,
        iteration_stats: IterationStats | None,
        mm_cache_stats: object = None,  # noqa: ARG002 - the base class's signature
        engine_idx: int = 0,
    ) -> None:
        """Record one iteration's numbers."""
        if scheduler_stats is not None:
            self.schedulers[engine_idx] = scheduler_stats
            if self.fetches is not None:
                self.fetches.take(scheduler_stats)
        if iteration_stats is not None:
            self._meter.iterated(
                time.monotonic(),
                iteration_stats.prompt_token_stats.computed,
                iteration_stats.num_generation_tokens,
                prefilling=self._prefilling(),
                sequences=len(iteration_stats.inter_token_latencies_iter),
                drafts=_drafts_in(scheduler_stats),
                rank=engine_idx,
            )

    def fetch_stats(self) -> FetchStats | None:
        """Return what was fetched from below the device; None: nothing is kept there."""
        return self.fetches.stats() if self.fetches is not None else None

    def log_engine_initialized(self) -> None:
        """Log nothing."""


def _drafts_in(stats: SchedulerStats | None) -> StepDrafts:
    found = stats.spec_decoding_stats if stats is not None else None
    if found is None:
        return NO_DRAFTS
    return StepDrafts(found.num_drafts, found.num_draft_tokens, found.num_accepted_tokens_per_pos)


class ObservedLLM(AsyncLLM):
    """vLLM's engine client, which reports each request's prompt and answer.

    Attributes:
        on_prompt: called with a request's prompt before the engine has it; None: not reported.
        on_answer: called with a request's answers at its end; None: not reported.
        checks_remote_prompts: what requests say of prompts that other engines computed is checked before the NIXL
            connector has it.
    """

    on_prompt: Callable[[PromptSeen], None] | None = None
    on_answer: Callable[[AnswerSeen], None] | None = None
    checks_remote_prompts = False

    async def add_request(self, request_id: str, prompt: Any, params: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - vLLM's own types
        """Report the request's prompt, then add the request."""
        if self.on_prompt is not None and isinstance(prompt, dict) and "prompt_token_ids" in prompt:
            self.on_prompt(self._prompt_seen(request_id, prompt, kwargs.get("lora_request")))
        if getattr(params, "extra_args", None):
            # With this a client could cause `BlockStored` events for blocks already stored; copies would be miscounted.
            params.extra_args.pop("kv_cache_report_mode", None)
            if self.checks_remote_prompts:
                self._check_remote_prompt(request_id, prompt, params.extra_args)
        return await super().add_request(request_id, prompt, params, *args, **kwargs)

    async def generate(
        self,
        prompt: Any,  # noqa: ANN401 - vLLM's own types
        sampling_params: Any,  # noqa: ANN401 - vLLM's own types
        request_id: str,
        **kwargs: Any,  # noqa: ANN401 - vLLM's own types
    ) -> AsyncGenerator[Any, None]:
        """Generate, then report the answers."""
        outputs = super().generate(prompt, sampling_params, request_id, **kwargs)
        if self.on_answer is None or not isinstance(prompt, dict) or "prompt_token_ids" not in prompt:
            async for output in outputs:
                yield output
            return
        answers = GatheredOutputs(is_delta=sampling_params.output_kind == RequestOutputKind.DELTA)
        try:
            async with aclosing(outputs):
                async for output in outputs:
                    answers.take(output.outputs)
                    yield output
        finally:
            self.on_answer(answers.seen(request_id))

    def tokens_to_prefill(self) -> int:
        """Return the prompt tokens of requests without a first token yet, but for prompts that others computed."""
        states = self.output_processor.request_states.values()
        return sum(
            state.prompt_len for state in states if state.is_prefilling and state.remote_prefill_cached_tokens is None
        )

    def _check_remote_prompt(self, request_id: str, prompt: Any, extra_args: dict[str, Any]) -> None:  # noqa: ANN401 - vLLM's own
        """Leave of `kv_transfer_params` what the connector can stand: vLLM 0.32 hangs or dies at wrong ones."""
        asked = extra_args.pop("kv_transfer_params", None)
        if not isinstance(asked, dict) or not asked:
            return
        tokens = len(prompt["prompt_token_ids"]) if isinstance(prompt, dict) and "prompt_token_ids" in prompt else None
        checked = checked_params(asked, tokens, self.vllm_config.cache_config.block_size)
        if checked is not None:
            extra_args["kv_transfer_params"] = checked
        elif is_to_be_fetched(asked):
            log.warning("wrong kv_transfer_params; the prompt is computed here", request=request_id)

    def _prompt_seen(self, request_id: str, prompt: Mapping[str, Any], lora: Any) -> PromptSeen:  # noqa: ANN401 - vLLM's own
        media = []
        for modality, hashes in (prompt.get("mm_hashes") or {}).items():
            for name, place in zip(hashes, prompt["mm_placeholders"][modality], strict=True):
                identifier = self.input_processor._get_mm_identifier(name, lora)  # noqa: SLF001 - as vLLM's own caller
                media.append((identifier, place.offset, place.length))
        return PromptSeen(
            request_id,
            prompt["prompt_token_ids"],
            adapter=lora.lora_name if lora is not None else "",
            cache_salt=prompt.get("cache_salt") or "",
            media=tuple(sorted(media, key=lambda item: item[1])),
        )


class GatheredOutputs:
    """Joins one request's outputs into its answers.

    Args:
        is_delta: each output continues the one before; otherwise each repeats the whole answer so far.
    """

    def __init__(self, *, is_delta: bool) -> None:
        self._is_delta = is_delta
        self._texts: dict[int, list[str]] = {}
        self._ids: dict[int, list[int]] = {}

    def take(self, outputs: Sequence[CompletionOutput]) -> None:
        """Add one output."""
        for output in outputs:
            if self._is_delta:
                self._texts.setdefault(output.index, []).append(output.text)
                self._ids.setdefault(output.index, []).extend(output.token_ids)
            else:
                self._texts[output.index] = [output.text]
                self._ids[output.index] = list(output.token_ids)

    def seen(self, request_id: str) -> AnswerSeen:
        """Return the answers so far as an event."""
        texts = tuple("".join(parts) for parts in self._texts.values())
        return AnswerSeen(request_id, texts, tuple(map(tuple, self._ids.values())))
