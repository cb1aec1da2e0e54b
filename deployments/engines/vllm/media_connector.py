"""How vLLM gets the images, audio and video of prompts: by `deployments.engines.media`, in place of its own client.

vLLM 0.32 checks a URL's host only if `allowed_media_domains` is set, looks its name up again when it connects, follows
redirects to anywhere, and keeps what it got by URL where it is told to. All its chat, embedding and scoring endpoints
load media through `MEDIA_CONNECTOR_REGISTRY`, so the check stands where the connection is made.
"""

import asyncio
from typing import Any, ClassVar

from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY, MediaConnector, MediaIO

from deployments.engines.media.fetcher import MediaFetcher
from deployments.engines.vllm.env import MEDIA_CONNECTOR


@MEDIA_CONNECTOR_REGISTRY.register(MEDIA_CONNECTOR)
class CheckedMediaConnector(MediaConnector):
    """vLLM's connector, which reads no files and asks no server that the cluster file does not allow.

    Attributes:
        fetcher: fetches; of the one engine of this process, which sets it before requests come.
    """

    fetcher: ClassVar[MediaFetcher]

    def load_from_url(self, url: str, media_io: MediaIO, *, fetch_timeout: int | None = None) -> Any:  # noqa: ANN401 - vLLM's own types
        """Load one item, in a thread without an event loop.

        Raises:
            MediaRefusedError: it is not allowed, too large, or could not be had.
        """
        del fetch_timeout  # the cluster file says it
        if url[:5].lower() == "data:":
            return self._load_inline(url, media_io)
        return media_io.load_bytes(self.fetcher.fetch_now(url))

    async def load_from_url_async(self, url: str, media_io: MediaIO, *, fetch_timeout: int | None = None) -> Any:  # noqa: ANN401 - vLLM's own types
        """Load one item; decoding is done in a thread.

        Raises:
            MediaRefusedError: it is not allowed, too large, or could not be had.
        """
        del fetch_timeout
        if url[:5].lower() == "data:":
            return await asyncio.to_thread(self._load_inline, url, media_io)
        found = await self.fetcher.fetch(url)
        return await asyncio.to_thread(media_io.load_bytes, found)

    def _load_inline(self, url: str, media_io: MediaIO) -> Any:  # noqa: ANN401 - vLLM's own types
        self.fetcher.check_size(url)
        return self._load_data_url(url, media_io)
