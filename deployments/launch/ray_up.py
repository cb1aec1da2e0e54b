"""Runs Ray's own programs `ray up`, `ray exec` and `ray down` on one `ray up` file."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from cluster.errors import ClusterError

RAY: Final = str(Path(sys.executable).with_name("ray"))
IS_AWAY: Final = "Ray's head does not run"
LOOK_FOR_HEAD: Final = f'pgrep -u "$(id -u)" -x gcs_server > /dev/null || echo "{IS_AWAY}"'
"""Shell command that prints `IS_AWAY` on a head without Ray's control service."""
TAIL_LINES: Final = 12
"""Last lines of a failed command's output that its error repeats."""
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class RayUp:
    """The cluster of one `ray up` file.

    Args:
        config: the `ray up` file.
        is_onprem: its machines exist already; no cloud makes them.
        report: called with each line that Ray's commands print.
    """

    def __init__(self, config: Path, *, is_onprem: bool, report: Callable[[str], None]) -> None:
        self._config = str(config)
        self._report = report
        self._env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
        # Ray 2.60's autoscaler v2 starts no worker under `provider: local`.
        self._env["RAY_UP_enable_autoscaler_v2"] = "0" if is_onprem else "1"

    def up(self, *, restart: bool) -> None:
        """Start the head, which starts the workers; if the head runs, update its configuration.

        Args:
            restart: stop a running Ray there, with everything it serves, and start it again.

        Raises:
            ClusterError: the command failed.
        """
        self._run("up", "--yes", self._config, *(() if restart else ("--no-restart",)))

    def start_head(self) -> bool:
        """Start Ray on the head if nothing of it runs there, as after the machine's restart; tell whether that was so.

        The head takes up what it knew, and the workers that have waited for it join again with all that runs on them.

        Raises:
            ClusterError: the head cannot be reached, or Ray does not start there.
        """
        if IS_AWAY not in self.on_head(LOOK_FOR_HEAD):
            return False
        self._run("up", "--yes", self._config, "--restart-only")
        return True

    def put(self, file: Path, target: str) -> None:
        """Copy a file to the head.

        Raises:
            ClusterError: the copy failed.
        """
        self._run("rsync-up", self._config, str(file), target)

    def on_head(self, command: str) -> Iterator[str]:
        """Run a command on the head and yield its output line by line.

        Raises:
            ClusterError: the command failed.
        """
        yield from self._lines("exec", self._config, command)

    def head_address(self) -> str:
        """Return the head's address, as this machine reaches it.

        Raises:
            ClusterError: there is no head.
        """
        *_, last = ["", *(line for line in self._lines("get-head-ip", self._config) if line.strip())]
        return last.strip()

    def down(self) -> None:
        """Stop Ray on the head; a cloud's machines are released too.

        Raises:
            ClusterError: the command failed.
        """
        self._run("down", "--yes", self._config)

    def _run(self, *arguments: str) -> None:
        for _line in self._lines(*arguments):
            pass

    def _lines(self, *arguments: str) -> Iterator[str]:
        tail: list[str] = []
        with subprocess.Popen(  # noqa: S603 - Ray's own program, on a file of ours
            [RAY, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=self._env,
        ) as process:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            for raw in process.stdout:
                line = _ESCAPES.sub("", raw).rstrip()
                tail = [*tail, line][-TAIL_LINES:] if line else tail
                self._report(line)
                yield line
        if process.returncode:
            said = "\n  ".join(tail)
            raise ClusterError(f"`ray {arguments[0]}` failed (exit code {process.returncode}):\n  {said}")
