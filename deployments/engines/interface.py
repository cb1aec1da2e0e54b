"""What a replica asks of an inference engine, whichever it is."""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class EngineStats:
    """An engine's state at one moment; the fields of `router.snapshot.LoadReport` an engine itself knows."""

    running: int
    waiting: int
    waiting_tokens: int
    kv_usage: float
    kv_capacity_tokens: int
    prefill_tokens_per_s: float
    decode_tokens_per_s: float


class Engine(Protocol):
    """An inference engine with an OpenAI-compatible ASGI app.

    Used as: `await start()`, then `app` is served and `stats()` read until `await stop()`.
    """

    async def start(self) -> None:
        """Load the model and get ready.

        Raises:
            EngineStartError: it did not come up; the message says why.
        """
        ...

    @property
    def app(self) -> AsgiApp:
        """The engine's own OpenAI-compatible app; only after `start`."""
        ...

    def stats(self) -> EngineStats:
        """Return the engine's state now; costs microseconds."""
        ...

    async def check_health(self) -> None:
        """Return if the engine works.

        Raises:
            EngineDeadError: it does not, and never will again.
        """
        ...

    async def stop(self) -> None:
        """Stop at once and free everything, child processes included. Safe to call twice."""
        ...
