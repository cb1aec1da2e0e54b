"""Makes the processes that vLLM starts end with the replica, end fast, and note why they failed or what took long."""

import atexit
import gc
import logging
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import wait
from pathlib import Path

from deployments.engines.start_clock import note_phases

FAILURE_FILE = "RACKSERVE_VLLM_FAILURE_FILE"
"""Environment variable with the path of the file where vLLM's engine process writes why it did not start."""

DOWNLOAD_LOGGER = "vllm.model_executor.model_loader.weight_utils"
"""The logger on which vLLM 0.32 tells how long it fetched weights."""

ENGINE_LOGGER = "vllm.v1.engine.core"
"""The logger on which vLLM 0.32's engine process reports what ended it."""

SIDE_CHANNEL_THREAD = "nixl_handshake_listener"
"""The thread of vLLM 0.32's NIXL connector that listens for other engines."""

ORPHAN_GRACE_S = 2.0
"""Seconds that an engine process without its replica has to end by itself before it is killed."""


def end_with_parent() -> None:
    """End this process when its parent process ends; vLLM's engine core would run forever.

    A thread waits for the parent, because `PR_SET_PDEATHSIG` acts when the starting *thread* ends. Does nothing in a
    process that `multiprocessing` did not start.
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
    """Writes why the engine did not start to a file that the replica reads; else only the log has it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a logged exception to the file."""
        exception = record.exc_info[1] if record.exc_info else None
        if exception is not None:
            Path(os.environ[FAILURE_FILE]).write_text(f"{type(exception).__name__}: {exception}", encoding="utf-8")


def end_without_side_channel(args: threading.ExceptHookArgs) -> None:
    """End this process when the thread ends in error that answers other engines' questions for KV blocks.

    vLLM 0.32 waits for ever for that thread to say that it listens, so the replica would only time out.
    """
    threading.__excepthook__(args)
    if args.thread is not None and args.thread.name == SIDE_CHANNEL_THREAD:
        problem = f"the KV connector's side channel ended: {args.exc_value}"
        Path(os.environ[FAILURE_FILE]).write_text(problem, encoding="utf-8")
        os._exit(1)


def settle_in() -> None:
    """Prepare an engine process: it ends with its replica, ends fast, and writes down why it failed."""
    end_with_parent()
    # Before it exits, Python searches all objects for cycles once more, which would take 3 s of CPU.
    atexit.register(gc.freeze)
    if FAILURE_FILE in os.environ:
        logging.getLogger(ENGINE_LOGGER).addHandler(FailureNote(logging.ERROR))
        threading.excepthook = end_without_side_channel
    note_phases((ENGINE_LOGGER, DOWNLOAD_LOGGER))
