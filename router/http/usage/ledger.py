"""Counts what tenants use on the event loop, and writes it down from a thread."""

import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

import structlog

from cluster.spec.parts.usage_spec import UsageSpec
from router.estimator.expectation import Usage
from router.http.usage.store import SUFFIX, UsageFile, file_of, month_of
from router.http.usage.used import Subject, Sums, Used, add_up

HAND_OVER_S: Final = 0.5
"""Seconds after which the event loop hands over what it has counted. With the write, less than a second is lost when
the process is killed."""
RETRY_S: Final = 5.0
"""Seconds after which what could not be written is tried again."""

_log = structlog.get_logger("rackserve.gateway")


class UsageLedger:
    """One gateway process' records of what tenants use. The event loop adds and ticks; a thread of its own writes.

    Where the disk does not take them, sums go on growing in memory, which their number of subjects bounds, and are
    written once it does.

    Args:
        folder: where the files are.
        machine: name of this machine, the beginning of its files' names.
        gateway: the gateway's id.
        keep_months: months that are kept beside the one that runs.
        now_s: returns the time, Unix seconds.

    Attributes:
        late_s: seconds for which requests have been counted and nothing was written; about 1 is usual under load.
    """

    def __init__(
        self,
        folder: Path,
        *,
        machine: str,
        gateway: str,
        keep_months: int,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.late_s = 0.0
        self._folder = folder
        self._machine = machine
        self._gateway = gateway
        self._keep_months = keep_months
        self._now_s = now_s
        self._sums: Sums = {}
        self._handed_over_s = 0.0
        self._unwritten = 0
        self._written_s = 0.0
        self._handed_over: SimpleQueue[Sums | None] = SimpleQueue()
        self._written: SimpleQueue[int] = SimpleQueue()
        self._file: UsageFile | None = None
        self._thread = threading.Thread(target=self._keep_writing, name="rackserve usage", daemon=True)
        self._thread.start()

    def add(self, subject: Subject, usage: Usage, held_s: float, *, is_whole: bool, is_handed_over: bool) -> None:
        """Count a request that has ended; see `Used.add`."""
        used = self._sums.get(subject)
        if used is None:
            used = self._sums[subject] = Used()
        used.add(usage, held_s, is_whole=is_whole, is_handed_over=is_handed_over)
        self._unwritten += 1

    def tick(self, now_s: float) -> None:
        """Hand over what has been counted, if it is time; `now_s` is of a clock that never goes back."""
        with suppress(Empty):
            while True:
                self._unwritten -= self._written.get_nowait()
                self._written_s = now_s
        if not self._unwritten:
            self._written_s = now_s
        self.late_s = now_s - self._written_s
        if self._sums and now_s - self._handed_over_s >= HAND_OVER_S:
            self._handed_over_s = now_s
            self._handed_over.put(self._sums)
            self._sums = {}

    def close(self) -> None:
        """Write all that has been counted, and end the thread."""
        self._handed_over.put(self._sums)
        self._sums = {}
        self._handed_over.put(None)
        self._thread.join()

    def _keep_writing(self) -> None:
        waiting: Sums = {}
        ends = False
        while not ends:
            with suppress(Empty):
                taken = self._handed_over.get(timeout=RETRY_S if waiting else None)
                if taken is None:
                    ends = True
                else:
                    add_up(waiting, taken)
            if waiting and (ends or self._handed_over.empty()):
                try:
                    self._write(waiting)
                except (sqlite3.Error, OSError) as error:
                    if ends:
                        _log.error("usage not written, and lost", folder=str(self._folder), error=str(error))
                    else:
                        _log.warning("usage not written, kept", folder=str(self._folder), error=str(error))
                else:
                    waiting = {}
        if self._file is not None:
            self._file.close()

    def _write(self, sums: Sums) -> None:
        at_s = self._now_s()
        month = month_of(at_s)
        if self._file is None or self._file.month != month:
            old, self._file = self._file, None
            if old is not None:
                old.close()
            self._file = UsageFile(file_of(self._folder, self._machine, month), month)
            self._remove_old_months(month)
        self._file.append(self._gateway, at_s, sums)
        self._written.put(sum(used.requests for used in sums.values()))

    def _remove_old_months(self, month: str) -> None:
        kept = {month_before(month, count) for count in range(self._keep_months + 1)}
        for path in self._folder.glob(f"{self._machine}.????-??{SUFFIX}"):
            of_file = path.name.removesuffix(SUFFIX).rpartition(".")[2]
            if of_file not in kept and of_file < month:
                path.unlink(missing_ok=True)


def ledger_of(spec: UsageSpec, gateway_id: str) -> UsageLedger | None:
    """Return the ledger that a cluster file asks for; None: no records are kept."""
    if not spec.folder:
        return None
    machine = socket.gethostname()
    return UsageLedger(Path(spec.folder), machine=machine, gateway=gateway_id, keep_months=spec.keep_months)


def month_before(month: str, count: int) -> str:
    """Return the month that is `count` months before another, such as "2025-12" for ("2026-02", 2)."""
    year, number = map(int, month.split("-"))
    months = year * 12 + number - 1 - count
    return f"{months // 12:04d}-{months % 12 + 1:02d}"
