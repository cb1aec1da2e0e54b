"""The servers behind a standalone gateway: from options, a file and calls, kept up to date while it runs."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from cluster.spec.servers_file import ServerSpec
from deployments.standalone.server_address import ServerAddress
from deployments.standalone.server_names import ServerNames
from deployments.standalone.server_settings import ServerDefaults, address_of
from deployments.standalone.watched_servers_file import WatchedServersFile

WATCH_S: Final = 1.0
"""Seconds between two looks at the servers file."""
LOOK_UP_S: Final = 5.0
"""Seconds between two look-ups of servers' names: as long as Kubernetes lets the answer for a Service be kept."""


class ServerList:
    """Which servers there are.

    A later word counts: a call adds a server to those of the options and the file, or takes one away; a change of the
    file brings back what a call took away.

    Args:
        options: servers that options name.
        file: the servers file; None: there is none.
        defaults: what holds for servers that don't say otherwise.
        names: the addresses behind host names; None: as this machine looks them up.

    Raises:
        ValueError: an option's server cannot be reached as it says; the message says why.
        SpecError: the file cannot be used; lists all its mistakes.

    Attributes:
        file: the watched servers file; None: there is none.
    """

    def __init__(
        self,
        options: Iterable[ServerSpec] = (),
        *,
        file: Path | None = None,
        defaults: ServerDefaults | None = None,
        names: ServerNames | None = None,
    ) -> None:
        self._defaults = defaults or ServerDefaults()
        self._options = {address.name: address for address in map(self._address_of, options)}
        self.file = WatchedServersFile(file, self._address_of) if file is not None else None
        self._added: dict[str, ServerAddress] = {}
        self._taken_away: set[str] = set()
        self._names = names or ServerNames()
        self._looked_up_s = 0.0

    def _address_of(self, spec: ServerSpec) -> ServerAddress:
        return address_of(spec, self._defaults)

    def configured(self) -> dict[str, ServerAddress]:
        """Return the servers as they were given, by name."""
        given = self._options | (self.file.addresses if self.file is not None else {})
        given = {name: address for name, address in given.items() if name not in self._taken_away}
        return given | self._added

    def addresses(self) -> list[ServerAddress]:
        """Return the servers, one at each address of a name that has several."""
        expanded = (each for server in self.configured().values() for each in self._names.expand(server))
        return list({server.name: server for server in expanded}.values())

    def add(self, spec: ServerSpec) -> tuple[ServerAddress, bool]:
        """Add a server, or change how a known one is reached; return it, and whether it is added.

        Raises:
            ValueError: a file that it names cannot be used; the message begins with the key's name.
        """
        address = self._address_of(spec)
        is_new = address.name not in self.configured()
        self._added[address.name] = address
        self._taken_away.discard(address.name)
        return address, is_new

    def take_away(self, name: str) -> bool:
        """Take a server away; return False where there is none of that name."""
        if name not in self.configured():
            return False
        self._added.pop(name, None)
        self._taken_away.add(name)
        return True

    async def look_up(self) -> bool:
        """Look up the servers' host names; return whether addresses have changed."""
        return await self._names.look_up(self.configured().values())

    async def keep_up_to_date(self, changed: Callable[[], None]) -> None:
        """Watch the file and look names up for as long as the gateway runs; call `changed` after each change."""
        until_look_up_s = LOOK_UP_S
        while True:
            await asyncio.sleep(WATCH_S)
            until_look_up_s -= WATCH_S
            is_changed = self.file is not None and self.file.refresh()
            if is_changed and self.file is not None:
                self._taken_away -= self.file.addresses.keys()
            if is_changed or until_look_up_s <= 0:
                until_look_up_s = LOOK_UP_S
                is_changed |= await self.look_up()
            if is_changed:
                changed()
