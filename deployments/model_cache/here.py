"""Warms this machine's cache: one process for each model, a few at a time, and what each of them says."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from deployments.model_cache.cached_source import CachedSource

MODELS_AT_ONCE: Final = 2
"""Models that one machine downloads at the same time; each has several files under way."""
ROOT: Final = str(Path(__file__).resolve().parents[2])


@dataclass(frozen=True, slots=True)
class CacheState:
    """How far a machine is with one model.

    Attributes:
        name: the model, `CachedSource.name`.
        done_bytes: bytes downloaded.
        total_bytes: bytes that were missing; 0: not known yet, or none.
        ready_s: seconds that it took until all was there; None: it is not.
        problem: why it cannot be had; "": nothing.
    """

    name: str
    done_bytes: int = 0
    total_bytes: int = 0
    ready_s: float | None = None
    problem: str = ""

    @property
    def is_settled(self) -> bool:
        """Return whether it is there, or cannot be had."""
        return self.ready_s is not None or bool(self.problem)


def warm_here(sources: Sequence[CachedSource]) -> Iterator[CacheState]:
    """Have these models in this machine's cache; yield each step of each, and last a settled state for each.

    Processes that still run when the iterator is closed are ended.
    """
    said: queue.SimpleQueue[CacheState] = queue.SimpleQueue()
    running: set[subprocess.Popen[str]] = set()
    is_closed = threading.Event()

    def run(source: CachedSource) -> None:
        if is_closed.is_set():
            return
        for state in _steps(source, running):
            said.put(state)

    pool = ThreadPoolExecutor(MODELS_AT_ONCE)
    try:
        for source in sources:
            pool.submit(run, source)
        left = len(sources)
        while left:
            state = said.get()
            left -= state.is_settled
            yield state
    finally:
        is_closed.set()
        for process in tuple(running):
            process.terminate()
        pool.shutdown(wait=True)


def _steps(source: CachedSource, running: set[subprocess.Popen[str]]) -> Iterator[CacheState]:
    state = CacheState(source.name)
    command = [sys.executable, "-m", "deployments.model_cache.download", json.dumps(asdict(source))]
    path = os.pathsep.join([ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, **dict(source.env), "PYTHONPATH": path}
    other = ""
    with subprocess.Popen(  # noqa: S603 - this program, on values of ours
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    ) as process:
        running.add(process)
        yield state
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        for line in process.stdout:
            try:
                state = replace(state, **json.loads(line))
            except (ValueError, TypeError):
                other = line.strip() or other  # a warning of a library, or the end of a traceback
                continue
            yield state
    running.discard(process)
    if not state.is_settled:
        yield replace(state, problem=f"its download ended with exit code {process.returncode}: {other}".rstrip(": "))
