"""An event loop in its own thread, so that what runs in it shares nothing with Serve's loops."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

Result = TypeVar("Result")


class LoopThread:
    """Runs a uvloop event loop in a daemon thread from construction until `close`.

    Args:
        name: the thread's name.
    """

    def __init__(self, name: str) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def submit(self, coroutine: Coroutine[Any, Any, Result]) -> "concurrent.futures.Future[Result]":
        """Start a coroutine on the loop, from any thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run(self, coroutine: Coroutine[Any, Any, Result], timeout_s: float | None = None) -> Result:
        """Run a coroutine on the loop and wait for it, from a thread that may block.

        Args:
            coroutine: what to run.
            timeout_s: longest wait; None: no limit.

        Raises:
            TimeoutError: it took longer than `timeout_s`; it is cancelled.
        """
        future = self.submit(coroutine)
        try:
            return future.result(timeout_s)
        except concurrent.futures.TimeoutError as error:
            future.cancel()
            raise TimeoutError(f"{self._thread.name} took longer than {timeout_s} s") from error

    async def run_async(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the loop and await its result in the caller's loop."""
        return await asyncio.wrap_future(self.submit(coroutine))

    def close(self) -> None:
        """Stop the loop; tasks that still run are dropped."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5.0)
        if not self._thread.is_alive():
            self._loop.close()
