"""What an exchange needs of the client's connection."""

import asyncio
from typing import Protocol


class Client(Protocol):
    """The client's side of an exchange."""

    transport: asyncio.Transport

    def exchange_ended(self, *, keep_alive: bool) -> None:
        """The answer has been written; the next request may be served unless the connection must close."""
        ...

    def exchange_broken(self) -> None:
        """The answer cannot be completed: the connection must break, so that the client sees it."""
        ...
