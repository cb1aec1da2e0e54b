"""Hand KV events to whoever subscribed."""

from collections.abc import Callable

import structlog

from deployments.engines.interface import KvEvent, TokenTexts

log = structlog.get_logger(__name__)


class KvEventHub:
    """Implements `interface.KvEvents`; an engine calls `emit`.

    Subscribers are called in the order they subscribed. One that raises is logged and keeps its subscription: it must
    not take the engine down with it.

    Attributes:
        block_tokens: tokens a KV block; the engine sets it when it starts.
        token_texts: what token ids stand for; None: the engine doesn't say.
    """

    def __init__(self, block_tokens: int = 0) -> None:
        self.block_tokens = block_tokens
        self.token_texts: TokenTexts | None = None
        self._callbacks: list[Callable[[KvEvent], None]] = []

    def __bool__(self) -> bool:
        """Tell whether anyone listens: what no one hears need not be made."""
        return bool(self._callbacks)

    def subscribe(self, callback: Callable[[KvEvent], None]) -> Callable[[], None]:
        """Have `callback` called with each event from now on; return what ends that."""
        self._callbacks.append(callback)

        def unsubscribe() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return unsubscribe

    def emit(self, event: KvEvent) -> None:
        """Give `event` to every subscriber."""
        for callback in tuple(self._callbacks):
            try:
                callback(event)
            except Exception:
                log.exception("kv_event_subscriber_failed", kv_event=type(event).__name__)
