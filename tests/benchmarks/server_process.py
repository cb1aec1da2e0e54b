"""Servers under measurement as child processes: started, awaited, stopped."""

import http.client
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
_POLL_S = 0.05


def unwind_on_sigterm() -> None:
    """Let SIGTERM end this program by an exception, so that the servers it started are stopped."""

    def leave(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)


class ServerProcess:
    """A server from start to stop, in a process group of its own; its output goes to a log file.

    Args:
        name: names the log file and errors.
        command: the command line.
        port: the port it is to listen on.
        ready_path: the path that answers 200 when it is ready.
        log_dir: where the log goes.
        start_wait_s: how long it may take to be ready.
        env: additions to the environment.
        own_session: Linux shares cores among sessions first (autogroups), and among processes only then. False where
            more processes compute than there are cores: three engines in sessions of their own on two cores were
            starved for up to two seconds at a time; Ray's processes, all in one session, never were.
        stop_wait_s: how long it may take to end when told to; then it is killed.
    """

    def __init__(  # noqa: PLR0913 - the parts of a process
        self,
        name: str,
        command: list[str],
        *,
        port: int,
        log_dir: Path,
        ready_path: str = "/health",
        start_wait_s: float = 60.0,
        env: dict[str, str] | None = None,
        own_session: bool = True,
        stop_wait_s: float = 10.0,
    ) -> None:
        self.name = name
        self.port = port
        self._ready_path = ready_path
        self._stop_wait_s = stop_wait_s
        self._log = log_dir / f"{name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A group of its own either way, to end it with.
                start_new_session=own_session,
                process_group=None if own_session else 0,
                env=os.environ | (env or {}),
            )
        self._deadline = time.monotonic() + start_wait_s

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def __enter__(self) -> Self:
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_ready(self) -> None:
        """Return when it answers.

        Raises:
            RuntimeError: it ended or did not answer in time; the message has the end of its log.
        """
        while not self._answers():
            if self._process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self._process.returncode} at start:\n{self._log_tail()}")
            if time.monotonic() > self._deadline:
                raise RuntimeError(f"{self.name} did not answer {self._ready_path} in time:\n{self._log_tail()}")
            time.sleep(_POLL_S)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", self._ready_path)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _log_tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])

    def wait_ended(self, within_s: float) -> None:
        """Return when it has ended by itself.

        Raises:
            subprocess.TimeoutExpired: it has not within `within_s` seconds.
        """
        self._process.wait(within_s)

    def stop(self) -> None:
        """End the process and everything in its group. Safe to call twice."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(self._stop_wait_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
