"""Gives each thread of every Python process started with this folder on PYTHONPATH its own name in the kernel.

Python 3.11 leaves threads with the name of their process. `bench_idle` reads the names in `/proc/PID/task/TID/comm`,
and so do `top -H` and `perf`. Imported by Python itself at its start.
"""

import threading
from pathlib import Path

_run = threading.Thread._bootstrap_inner  # type: ignore[attr-defined]


def _run_named(thread: threading.Thread) -> None:
    Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(thread.name[:15])
    _run(thread)


threading.Thread._bootstrap_inner = _run_named  # type: ignore[attr-defined]
