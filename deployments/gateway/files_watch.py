"""Looks at files while a gateway runs, and has it take over what has changed."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from deployments.process.file_stamps import FileStamps

LOOK_EVERY_S: Final = 1.0
"""Seconds between two looks at the files."""


class FilesWatch:
    """Looks at files once a second until `stop`, and calls `take_over` when one has changed.

    Args:
        files: the files; `watch` names others.
        take_over: takes over what they say now.
        name: name of the task.
    """

    def __init__(self, files: Iterable[str], take_over: Callable[[], Awaitable[None]], name: str) -> None:
        self._stamps = FileStamps(files)
        self._take_over = take_over
        self._name = name
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, in the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._keep_looking(), name=self._name)

    def watch(self, files: Iterable[str]) -> None:
        """Look at these files from now on, as they are now."""
        self._stamps.watch(files)

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if await asyncio.to_thread(self._stamps.have_changed):  # a file system may hang
                await self._take_over()
