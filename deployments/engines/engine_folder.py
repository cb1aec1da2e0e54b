"""A temporary folder of one engine, which the node's next engine removes if this one was killed.

A live engine holds a lock on the folder's `owner` file. The kernel releases the lock when the last process with it has
ended, in any way. A process id in the file would not do: ids are reused, and pods that share a folder do not share
ids.
"""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

import structlog

PREFIX: Final = "rackserve-vllm-"
"""Beginning of the folders' names."""
OWNER: Final = "owner"
"""Name of the locked file in each folder."""

log = structlog.get_logger(__name__)


class EngineFolder:
    """A temporary folder, which exists until `remove`, or until its processes have ended and `remove_abandoned` runs.

    Attributes:
        path: the folder's path.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=PREFIX)
        self.path = Path(self._folder.name)
        new = self.path / f".{OWNER}"
        self._lock = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.write(self._lock, str(os.getpid()).encode())  # for people only
        new.rename(self.path / OWNER)  # others can find the file only now that it is locked

    def remove(self) -> None:
        """Remove the folder. Safe to call twice."""
        self._folder.cleanup()
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


def remove_abandoned() -> list[Path]:
    """Remove the folders whose engines were killed and return them; a folder without an `owner` file is being made."""
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
        return False  # no `owner` file yet, or another user's
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
