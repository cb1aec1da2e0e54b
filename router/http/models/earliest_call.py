"""One timer for many times: it calls back at the earliest time that was asked for."""

import asyncio
from collections.abc import Callable


class EarliestCall:
    """Calls back once, at the earliest of the times asked for since the last call.

    Args:
        call: what is called, from the event loop.
    """

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._handle: asyncio.Handle | None = None
        self._due_s = 0.0

    def within(self, delay_s: float) -> None:
        """Call back after `delay_s` seconds at the latest; 0 or less: in the next turn of the event loop."""
        loop = asyncio.get_running_loop()
        due_s = loop.time() + max(0.0, delay_s)
        if self._handle is not None:
            if self._due_s <= due_s:
                return
            self._handle.cancel()
        # The due time is kept beside the handle: for calls due within half a millisecond uvloop makes no timer, so the
        # handle has no `when`.
        self._handle = loop.call_at(due_s, self._run)
        self._due_s = due_s

    def _run(self) -> None:
        self._handle = None
        self._call()
