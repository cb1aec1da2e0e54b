"""A temporary folder of one engine, which the next engine on the node removes if this one was killed.

Whoever lives holds a lock on the folder's `owner` file; the kernel gives it back when the last process that holds it
has ended, however it ended. A process id in a file would not do: ids are used again, and pods that share a folder do
not share their ids.
"""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

import structlog

PREFIX: Final = "rackserve-vllm-"
OWNER: Final = "owner"

log = structlog.get_logger(__name__)


class EngineFolder:
    """A folder until `remove`, or until this process and all it forked have ended and `remove_abandoned` finds it.

    Attributes:
        path: where it is.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=PREFIX)
        self.path = Path(self._folder.name)
        new = self.path / f".{OWNER}"
        self._lock = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.write(self._lock, str(os.getpid()).encode())  # for people who look
        new.rename(self.path / OWNER)  # only now, locked, can others find it

    def remove(self) -> None:
        """Remove it. Safe to call twice."""
        self._folder.cleanup()
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


def remove_abandoned() -> list[Path]:
    """Remove the folders whose owners were killed; returns which. One without an owner yet is being made."""
    removed = []
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if _has_no_owner_left(folder):
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
    if removed:
        log.info("removed folders of engines that were killed", folders=[str(folder) for folder in removed])
    return removed


def _has_no_owner_left(folder: Path) -> bool:
    try:
        lock = os.open(folder / OWNER, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False  # no owner file, or another user's
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
