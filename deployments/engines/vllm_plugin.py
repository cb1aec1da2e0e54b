"""RackServe's extensions of vLLM's own classes.

Imported by `vllm.py` once the environment is set, and by the processes vLLM starts.
"""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NoReturn

from vllm.config import VllmConfig
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.executor.abstract import Executor
from vllm.v1.executor.multiproc_executor import MultiprocExecutor
from vllm.v1.executor.ray_executor_v2 import RayExecutorV2
from vllm.v1.executor.uniproc_executor import UniProcExecutor
from vllm.v1.metrics.loggers import StatLoggerBase
from vllm.v1.metrics.stats import IterationStats, SchedulerStats

from cluster.errors import EngineStartError
from deployments.engines.vllm_env import FAILURE_FILE
from deployments.engines.vllm_load import LoadMeter

ORPHAN_GRACE_S = 2.0
"""How long an engine process that has lost its replica may take to end by itself."""


def end_with_parent() -> None:
    """End this process when the process that started it ends: vLLM's engine core would go on for ever.

    A thread waits for it rather than `PR_SET_PDEATHSIG`, which fires when the starting *thread* ends. In a process that
    `multiprocessing` did not start, nothing happens.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(ORPHAN_GRACE_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="rackserve-end-with-parent", daemon=True).start()


class FailureNote(logging.Handler):
    """Leaves the reason why the engine did not start where the replica finds it: else only the log has it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write down an exception that was logged."""
        exception = record.exc_info[1] if record.exc_info else None
        if exception is not None:
            Path(os.environ[FAILURE_FILE]).write_text(f"{type(exception).__name__}: {exception}", encoding="utf-8")


def settle_in() -> None:
    """Make the engine's process one of RackServe's: it ends with its replica, and says why it failed."""
    end_with_parent()
    if FAILURE_FILE in os.environ:
        logging.getLogger("vllm.v1.engine.core").addHandler(FailureNote(logging.ERROR))


class GuardedUniProcExecutor(UniProcExecutor):
    """The model runs in the engine's own process, and that ends with the replica."""

    def __init__(self, vllm_config: VllmConfig) -> None:
        settle_in()
        super().__init__(vllm_config)


class GuardedMultiprocExecutor(MultiprocExecutor):
    """The model runs in worker processes, and the engine's process ends with the replica; the workers with it."""

    def __init__(self, vllm_config: VllmConfig, *args: object, **kwargs: object) -> None:
        settle_in()
        super().__init__(vllm_config, *args, **kwargs)


class GuardedRayExecutor(RayExecutorV2):
    """The model runs in Ray actors, and the engine's process, which owns them, ends with the replica."""

    def __init__(self, vllm_config: VllmConfig, *args: object, **kwargs: object) -> None:
        settle_in()
        super().__init__(vllm_config, *args, **kwargs)


GUARDED: dict[type[Executor], type[Executor]] = {
    UniProcExecutor: GuardedUniProcExecutor,
    MultiprocExecutor: GuardedMultiprocExecutor,
    RayExecutorV2: GuardedRayExecutor,
}
"""For each executor vLLM may choose, the one to use."""


class EngineArgParser(FlexibleArgumentParser):
    """vLLM's parser, without the exit."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print.

        Raises:
            EngineStartError: always.
        """
        raise EngineStartError(f"engine_args: {message}")


class IterationLogger(StatLoggerBase):
    """Keeps what the last iteration reported.

    Attributes:
        scheduler: the scheduler's numbers; None before the first iteration.
    """

    def __init__(self, meter: LoadMeter, prefilling: Callable[[], bool]) -> None:
        self.scheduler: SchedulerStats | None = None
        self._meter = meter
        self._prefilling = prefilling

    def record(
        self,
        scheduler_stats: SchedulerStats | None,
        iteration_stats: IterationStats | None,
        mm_cache_stats: object = None,  # noqa: ARG002 - the base class's signature
        engine_idx: int = 0,  # noqa: ARG002 - likewise
    ) -> None:
        """Take an iteration's numbers."""
        if scheduler_stats is not None:
            self.scheduler = scheduler_stats
        if iteration_stats is not None:
            self._meter.iterated(
                time.monotonic(),
                iteration_stats.prompt_token_stats.computed,
                iteration_stats.num_generation_tokens,
                prefilling=self._prefilling(),
            )

    def log_engine_initialized(self) -> None:
        """Say nothing."""


class ObservedLLM(AsyncLLM):
    """vLLM's engine client, telling of each request it takes.

    Attributes:
        on_request: called with the request's id and its prompt's token ids, before the engine has it.
    """

    on_request: Callable[[str, Sequence[int]], None] | None = None

    async def add_request(self, request_id: str, prompt: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - vLLM's own types
        """Tell of the request, then take it."""
        if self.on_request is not None and isinstance(prompt, dict) and "prompt_token_ids" in prompt:
            self.on_request(request_id, prompt["prompt_token_ids"])
        return await super().add_request(request_id, prompt, *args, **kwargs)
