"""The interface through which an exchange uses the client's connection."""

import asyncio
from typing import Protocol


class Client(Protocol):
    """The client's side of an exchange.

    Attributes:
        transport: where the answer is written.
    """

    transport: asyncio.Transport

    def exchange_ended(self, *, keep_alive: bool) -> None:
        """Go on with the next request, as the answer has been written; without `keep_alive` close the connection."""
        ...

    def exchange_broken(self) -> None:
        """Close the connection, as the answer cannot be completed: so the client sees that its end is missing."""
        ...
