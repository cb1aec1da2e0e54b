"""A servers file that is read again when it changes, or a key file that it names does."""

from collections.abc import Callable
from pathlib import Path

import structlog

from cluster.errors import SpecError, SpecProblem
from cluster.spec.servers_file import SERVERS_FILE, ServerSpec
from deployments.process.file_stamps import FileStamps
from deployments.process.read_file import read_text
from deployments.standalone.server_address import ServerAddress

_log = structlog.get_logger("rackserve.gateway")


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
        self._stamps = FileStamps([file])
        self.addresses = self._read()

    def refresh(self) -> bool:
        """Read the file again if it has changed; return whether `addresses` may be others."""
        if not self._stamps.have_changed():
            return False
        try:
            self.addresses = self._read()
        except SpecError as error:
            self.problem = str(error)
            _log.warning("servers file not used; the servers stay as they were", error=self.problem)
            return False
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
        self._stamps.watch([self.file, *sorted(key_files)])
        if problems:
            raise SpecError(str(self.file), problems)
        return addresses
