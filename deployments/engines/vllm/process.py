"""Manners of the processes vLLM starts: they end with the replica, swiftly, and leave word why they failed."""

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

FAILURE_FILE = "RACKSERVE_VLLM_FAILURE_FILE"
"""Environment variable: where vLLM's engine process leaves the reason why it did not start."""

ENGINE_LOGGER = "vllm.v1.engine.core"
"""The logger on which vLLM 0.32's engine process reports what ended it."""

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
    """Make the engine's process one of RackServe's: it ends with its replica, swiftly, and says why it failed."""
    end_with_parent()
    # Python looks through all objects for cycles once more before it exits: 3 s of CPU in a process that is to go.
    atexit.register(gc.freeze)
    if FAILURE_FILE in os.environ:
        logging.getLogger(ENGINE_LOGGER).addHandler(FailureNote(logging.ERROR))
