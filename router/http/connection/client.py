"""What a client's connection and the answering of its request know of each other."""

import asyncio
from typing import Protocol


class Client(Protocol):
    """The client's side of an answer.

    Attributes:
        transport: where the answer is written.
        writable: the client keeps up with what is written.
    """

    transport: asyncio.Transport
    writable: bool

    def exchange_ended(self, *, keep_alive: bool) -> None:
        """Go on with the next request, as the answer has been written; without `keep_alive` close the connection."""
        ...

    def exchange_broken(self) -> None:
        """Close the connection, as the answer cannot be completed: so the client sees that its end is missing."""
        ...


class Answering(Protocol):
    """A request that is being answered over some time; nothing else of the connection is served until its end."""

    def start(self) -> None:
        """Begin; the answer may be written, and ended, before this returns."""
        ...

    def client_left(self) -> None:
        """End, as the client is gone."""
        ...

    def client_is_slow(self) -> None:
        """Stop producing bytes, as the client does not keep up with them."""
        ...

    def client_caught_up(self) -> None:
        """Go on producing bytes."""
        ...

    def probe_client(self) -> None:
        """Write something that means nothing, if that is possible now: it shows whether the client is there."""
        ...

    def client_sent(self, data: bytes) -> bool:
        """Take bytes that came after the request; return False to leave them until the answer has ended."""
        ...

    def gateway_ends(self) -> None:
        """End, as the gateway waits no longer."""
        ...

    def tick(self) -> None:
        """Enforce the answer's time limits; called every `TICK_S` while the client keeps up."""
        ...
