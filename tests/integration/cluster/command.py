"""Runs the `rackserve` command as users do, and knows what it left behind."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

BIN = Path(sys.executable).parent
RACKSERVE = str(BIN / "rackserve")
SERVE = str(BIN / "serve")


def run(
    *arguments: str, env: Mapping[str, str] | None = None, timeout_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        arguments, capture_output=True, text=True, timeout=timeout_s, env=_environment(env), check=False
    )


class Command:
    """A running command; at the end of its `with` block it is gone, with all its descendants."""

    def __init__(self, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=_environment(env),
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._family: dict[int, psutil.Process] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The command's own process."""
        return self._process.pid

    def wait_for_line(self, start: str, timeout_s: float = 90.0) -> str:
        """Return the first line from here on that begins with `start`.

        Raises:
            AssertionError: the command ended, or said nothing of the kind in time.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                line = self._queue.get(timeout=max(0.0, deadline_s - time.monotonic()))
            except queue.Empty:
                line = None
            assert line is not None, f"no line {start!r} among:\n{self.output}"
            if line.startswith(start):
                return line

    @property
    def output(self) -> str:
        """Everything it has said."""
        return "\n".join(self.lines)

    def descendants(self) -> Sequence[psutil.Process]:
        """Return all processes that stand under it, now or at an earlier call."""
        for process in psutil.Process(self.pid).children(recursive=True):
            self._family.setdefault(process.pid, process)
        return list(self._family.values())

    def survivors(self, timeout_s: float = 5.0) -> Sequence[psutil.Process]:
        """Return its descendants that still run; give them a moment to end."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            alive = [p for p in self._family.values() if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
            if not alive or time.monotonic() > deadline_s:
                return alive
            time.sleep(0.1)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command alone."""
        self._process.send_signal(number)

    def send_to_group(self, number: signal.Signals) -> None:
        """Send a signal to its whole process group, as a terminal and service managers do."""
        os.killpg(self.pid, number)

    def wait(self, timeout_s: float = 60.0) -> int:
        """Return its exit code, once it has ended."""
        code = self._process.wait(timeout_s)
        self._reader.join(5.0)
        return code

    def __enter__(self) -> Self:
        """Give the running command."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it and all its descendants, whatever state they are in."""
        if self._process.poll() is None:
            self.descendants()
            self._process.kill()
            self._process.wait()
        for process in self.survivors(0.0):
            process.kill()
        assert self._process.stdout is not None
        self._reader.join(5.0)
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))
            self._queue.put(self.lines[-1])
        self._queue.put(None)


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    plain = {key: value for key, value in os.environ.items() if key not in {"RAY_ADDRESS", "RACKSERVE_LOG"}}
    return {**plain, "COLUMNS": "120", "NO_COLOR": "1", **(extra or {})}
