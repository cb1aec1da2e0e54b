"""Files that are looked at for changes: a servers file, tenants, keys."""

from collections.abc import Iterable
from pathlib import Path

_Stamp = tuple[int, int, int]


class FileStamps:
    """What some files looked like when they were last read.

    Not safe to use from two threads at a time.

    Args:
        files: the files, which need not exist.
    """

    def __init__(self, files: Iterable[str | Path]) -> None:
        self._stamps: dict[Path, _Stamp | None] = {}
        self.watch(files)

    def watch(self, files: Iterable[str | Path]) -> None:
        """Look at exactly these files from now on.

        A file that was watched before is not looked at now: what has changed in it since is still a change.
        """
        known = self._stamps
        self._stamps = {file: known[file] if file in known else _stamp(file) for file in map(Path, files)}

    def have_changed(self) -> bool:
        """Return whether a file has changed, come or gone since this was last asked; ask before you read them."""
        before, self._stamps = self._stamps, {file: _stamp(file) for file in self._stamps}
        return self._stamps != before


def _stamp(file: Path) -> _Stamp | None:
    """Return a file's time, size and number on the disk; None: it is not there."""
    try:
        found = file.stat()  # follows links: a mounted Secret's are turned to another folder when it changes
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
