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
from vllm.pooling_params import PoolingParams
from vllm.sampling_params import RequestOutputKind
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.executor.abstract import Executor
from vllm.v1.executor.multiproc_executor import MultiprocExecutor
from vllm.v1.executor.ray_executor_v2 import RayExecutorV2
from vllm.v1.executor.uniproc_executor import UniProcExecutor
from vllm.v1.metrics.loggers import StatLoggerBase
from vllm.v1.metrics.stats import IterationStats, SchedulerStats
from vllm.v1.pool.late_interaction import get_late_interaction_engine_index

from cluster.errors import EngineStartError
from deployments.engines.fetch_meter import FetchStats
from deployments.engines.interface import AnswerSeen, PromptSeen
from deployments.engines.remote_prompt import checked_params, is_to_be_fetched
from deployments.engines.vllm.kv.offload_meter import OffloadMeter
from deployments.engines.vllm.load import NO_DRAFTS, LoadMeter, StepDrafts
from deployments.engines.vllm.processes.engine_process import settle_in
from deployments.engines.vllm.ranks.asked_rank import ASKED_RANK
from deployments.engines.vllm.ranks.requests_by_rank import RequestsByRank

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
        meters: measure each rank's rates.
        prefilling: returns whether prompts on a rank are incomplete.
        fetches: measure what comes to each rank from below its device; none: nothing does.

    Attributes:
        schedulers: the last report by rank; a rank is missing before its first iteration.
    """

    def __init__(
        self, meters: Sequence[LoadMeter], prefilling: Callable[[int], bool], fetches: Sequence[OffloadMeter] = ()
    ) -> None:
        self.schedulers: dict[int, SchedulerStats] = {}
        self._fetches = fetches
        self._meters = meters
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
            if self._fetches:
                self._fetches[engine_idx].take(scheduler_stats)
        if iteration_stats is not None:
            self._meters[engine_idx].iterated(
                time.monotonic(),
                iteration_stats.prompt_token_stats.computed,
                iteration_stats.num_generation_tokens,
                prefilling=self._prefilling(engine_idx),
                sequences=len(iteration_stats.inter_token_latencies_iter),
                drafts=_drafts_in(scheduler_stats),
            )

    def fetch_stats(self, rank: int) -> FetchStats | None:
        """Return what a rank fetched from below its device; None: nothing is kept there."""
        return self._fetches[rank].stats() if self._fetches else None

    def log_engine_initialized(self) -> None:
        """Log nothing."""


def _drafts_in(stats: SchedulerStats | None) -> StepDrafts:
    found = stats.spec_decoding_stats if stats is not None else None
    if found is None:
        return NO_DRAFTS
    return StepDrafts(found.num_drafts, found.num_draft_tokens, found.num_accepted_tokens_per_pos)


class ObservedLLM(AsyncLLM):
    """vLLM's engine client, which picks the data-parallel rank of each request, and reports its prompt and answer.

    By itself vLLM picks one only after it has taken the prompt, and tells nobody which.

    Attributes:
        on_prompt: called with a request's rank and prompt before the engine has it; None: not reported.
        on_answer: called with a request's rank and answers at its end; None: not reported.
        requests: the unfinished requests of each rank.
        checks_remote_prompts: what requests say of prompts that other engines computed is checked before the NIXL
            connector has it.
    """

    on_prompt: Callable[[int, PromptSeen], None] | None = None
    on_answer: Callable[[int, AnswerSeen], None] | None = None
    requests: RequestsByRank
    checks_remote_prompts = False

    def follow_ranks(self, ranks: int) -> None:
        """Keep `requests` from now on; call it before the first request."""
        processor = self.output_processor
        requests = self.requests = RequestsByRank(processor.request_states, ranks)
        if ranks == 1:
            return
        add = processor.add_request

        def add_to_rank(request: EngineCoreRequest, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on
            add(request, *args, **kwargs)
            requests.added(request.request_id, request.data_parallel_rank or 0)

        processor.add_request = add_to_rank  # all ways in lead here, those of a request's several answers too

    async def add_request(self, request_id: str, prompt: Any, params: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - vLLM's own types
        """Report the request's prompt, then add the request."""
        rank = self._rank_of(params, kwargs)
        if self.on_prompt is not None and isinstance(prompt, dict) and "prompt_token_ids" in prompt:
            self.on_prompt(rank, self._prompt_seen(request_id, prompt, kwargs.get("lora_request")))
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
        rank = self._rank_of(sampling_params, kwargs)
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
            self.on_answer(rank, answers.seen(request_id))

    def _rank_of(self, params: Any, kwargs: dict[str, Any]) -> int:  # noqa: ANN401 - vLLM's own
        """Return the rank that computes a request, and set it in vLLM's arguments; 0 where there is one.

        It is the one that the request names, or the emptiest. vLLM refuses a request that names one which there is not.
        """
        ranks = self.requests.ranks
        if ranks == 1:
            return 0
        rank: int | None = kwargs.get("data_parallel_rank")
        if rank is None and isinstance(params, PoolingParams):
            rank = get_late_interaction_engine_index(params, ranks)
        if rank is None:
            rank = ASKED_RANK.get()
        if rank is None:
            rank = self.requests.emptiest()
        kwargs["data_parallel_rank"] = rank
        return rank if 0 <= rank < ranks else 0

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
