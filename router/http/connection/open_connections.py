"""The open connections of one gateway process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router.http.connection.client_connection import ClientConnection


class OpenConnections:
    """The open connections of one gateway process.

    Attributes:
        all: the connections.
        empty: set while no connection is open.
    """

    def __init__(self) -> None:
        self.all: set[ClientConnection] = set()
        self.empty = asyncio.Event()
        self.empty.set()

    def __len__(self) -> int:
        return len(self.all)

    def __iter__(self) -> Iterator[ClientConnection]:
        return iter(self.all)

    def add(self, connection: ClientConnection) -> None:
        """Add a connection that is open now."""
        self.all.add(connection)
        self.empty.clear()

    def discard(self, connection: ClientConnection) -> None:
        """Remove a connection that is closed."""
        self.all.discard(connection)
        if not self.all:
            self.empty.set()
