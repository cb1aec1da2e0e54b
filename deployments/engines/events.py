"""Delivers an engine's KV events to subscribers."""

from collections.abc import Callable

import structlog

from deployments.engines.interface import KvEvent, TokenTexts

log = structlog.get_logger(__name__)


class KvEventHub:
    """Implements `interface.KvEvents`; an engine calls `emit`.

    Subscribers are called in the order in which they subscribed. If one raises, the error is logged and its
    subscription stays: a subscriber must not end the engine.

    Attributes:
        block_tokens: tokens per KV block; the engine sets it when it starts.
        token_texts: the text of each token id; None: the engine doesn't say.
        has_tiers: blocks that leave the device may be held in tiers below it; the engine sets it when it starts.
    """

    def __init__(self, block_tokens: int = 0) -> None:
        self.block_tokens = block_tokens
        self.token_texts: TokenTexts | None = None
        self.has_tiers = False
        self._callbacks: list[Callable[[KvEvent], None]] = []

    def __bool__(self) -> bool:
        """Return whether there are subscribers; without any, an engine need not make events."""
        return bool(self._callbacks)

    def subscribe(self, callback: Callable[[KvEvent], None]) -> Callable[[], None]:
        """Call `callback` with each event from now on; return a function that ends this."""
        self._callbacks.append(callback)

        def unsubscribe() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return unsubscribe

    def emit(self, event: KvEvent) -> None:
        """Call every subscriber with `event`."""
        for callback in tuple(self._callbacks):
            try:
                callback(event)
            except Exception:
                log.exception("kv_event_subscriber_failed", kv_event=type(event).__name__)
