"""Measures what a replica's start goes to, with what vLLM's engine process logs of it."""

import logging
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path

from router.replicas.start_phases import StartPhases

PHASES_FILE = "RACKSERVE_VLLM_PHASES_FILE"
"""Environment variable with the path of the file where vLLM's engine process writes what its start took."""


class PhaseNote(logging.Handler):
    """Writes what parts of the start took to a file that the replica reads, from what vLLM logs anyway.

    A line each: the part's name and its seconds. Weights that worker processes fetch (several ranks) are not told of.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write the seconds of a message that tells some."""
        text = record.getMessage()
        found = {part: pattern.search(text) for part, pattern in _PHASES.items()}
        lines = [f"{part} {match[1]}\n" for part, match in found.items() if match]
        if lines:
            with Path(os.environ[PHASES_FILE]).open("a", encoding="utf-8") as file:
                file.writelines(lines)


_PHASES = {
    "download": re.compile(r"^Time spent downloading weights for .*: ([\d.]+) seconds"),
    "init": re.compile(r"^init engine \(.*\) took ([\d.]+) s"),
    "compile": re.compile(r"^init engine .*\(compilation: ([\d.]+) s"),
}


def start_phases(told: str, built_s: float, warm_up_s: float) -> StartPhases:
    """Return what a start went to.

    Args:
        told: content of the file that `PhaseNote` wrote; "": vLLM told nothing, and all of `built_s` counts as loading.
        built_s: seconds until the engine was there.
        warm_up_s: seconds of the first requests.
    """
    seconds = dict.fromkeys(_PHASES, 0.0)
    for line in told.splitlines():
        part, value = line.split()
        seconds[part] += float(value)
    runs_s = max(0.0, seconds["init"] - seconds["compile"])
    load_s = max(0.0, built_s - seconds["download"] - seconds["compile"] - runs_s)
    return StartPhases(seconds["download"], load_s, seconds["compile"], runs_s + warm_up_s)


class StartClock:
    """Measures a replica's start with what the engine's process tells of it.

    Args:
        file: where that process is to write (`PHASES_FILE`).
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._began_s = self._built_s = 0.0
        self.phases: StartPhases | None = None

    def begin(self) -> None:
        """Start the clock; engine processes are started after this."""
        os.environ[PHASES_FILE] = str(self._file)
        self._began_s = time.monotonic()

    def built(self) -> None:
        """Note that the engine is there and its first requests begin."""
        self._built_s = time.monotonic()

    def ready(self) -> None:
        """Note that those have ended: `phases` is known from now on."""
        told = self._file.read_text(encoding="utf-8") if self._file.exists() else ""
        self.phases = start_phases(told, self._built_s - self._began_s, time.monotonic() - self._built_s)


def note_phases(loggers: Iterable[str]) -> None:
    """Have this process write down what these loggers tell of its start, if it was asked to."""
    if PHASES_FILE in os.environ:
        for name in loggers:
            logging.getLogger(name).addHandler(PhaseNote(logging.INFO))
