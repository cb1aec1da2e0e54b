"""A servers file that is read again when it changes, or a key file that it names does."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from cluster.errors import SpecError, SpecProblem
from cluster.spec.servers_file import SERVERS_FILE, ServerSpec
from deployments.process.read_file import read_text
from deployments.standalone.server_address import ServerAddress

_log = structlog.get_logger("rackserve.gateway")
_Stamp = tuple[int, int, int]


class WatchedServersFile:
    """The servers of one file.

    A file that cannot be used, half written or gone, changes nothing: the last good one stays, and `problem` says why.

    Args:
        file: the file.
        address_of: makes a server's entry an address; raises ValueError with the key's name where it cannot.

    Raises:
        SpecError: the file cannot be used; lists all its mistakes.

    Attributes:
        file: the file.
        addresses: its servers, by name.
        problem: why its present text is not used; "": it is.
    """

    def __init__(self, file: Path, address_of: Callable[[ServerSpec], ServerAddress]) -> None:
        self.file = file
        self.problem = ""
        self._address_of = address_of
        self._watched: tuple[str, ...] = (str(file),)
        self._stamps = _stamps(self._watched)
        self.addresses = self._read()
        self._stamps = _stamps(self._watched)

    def refresh(self) -> bool:
        """Read the file again if it has changed; return whether `addresses` may be others."""
        stamps = _stamps(self._watched)
        if stamps == self._stamps:
            return False
        self._stamps = stamps
        try:
            self.addresses = self._read()
        except SpecError as error:
            self.problem = str(error)
            _log.warning("servers file not used; the servers stay as they were", error=self.problem)
            return False
        self._stamps = _stamps(self._watched)
        self.problem = ""
        _log.info("servers file read", file=str(self.file), servers=len(self.addresses))
        return True

    def _read(self) -> dict[str, ServerAddress]:
        servers = SERVERS_FILE.load(read_text(self.file), str(self.file)).servers
        addresses: dict[str, ServerAddress] = {}
        problems: list[SpecProblem] = []
        for position, server in enumerate(servers):
            try:
                address = self._address_of(server)
            except ValueError as error:
                key, _, message = str(error).partition(": ")
                problems.append(SpecProblem(f"servers[{position}].{key}", message))
                continue
            addresses[address.name] = address
        key_files = {server.key_file for server in servers if server.key_file is not None}
        self._watched = (str(self.file), *sorted(key_files))
        if problems:
            raise SpecError(str(self.file), problems)
        return addresses


def _stamps(files: Iterable[str]) -> list[_Stamp | None]:
    """Return what changes when a file does: for each its time, size and number on the disk; None: it is not there."""
    stamps: list[_Stamp | None] = []
    for file in files:
        try:
            found = os.stat(file)  # noqa: PTH116 - follows links, as mounted Secrets swap them
        except OSError:
            stamps.append(None)
        else:
            stamps.append((found.st_mtime_ns, found.st_size, found.st_ino))
    return stamps
