"""Fetches the images, audio and video that prompts name by URL, from allowed hosts with public addresses alone.

A host's name is looked up once, all its addresses are checked, and the connection goes to one that was checked: a name
server that gives another address the next time changes nothing (DNS rebinding). Redirects are followed by hand, each
with the whole check. Proxies of the environment are not used: they would look names up themselves.
"""

import asyncio
import base64
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from http import HTTPStatus
from typing import Final
from urllib.parse import urljoin

import httpx

from cluster.spec.model_parts.media_spec import MediaSpec
from deployments.engines.media.media_url import MediaUrl, is_allowed, read_url
from deployments.engines.media.public_address import is_public
from deployments.engines.media.refused import MediaRefusal, MediaRefusedError
from router.replicas.media_report import NO_MEDIA, MediaReport

MAX_REDIRECTS: Final = 3
"""Redirects followed: from http to https, from a name to the same with `www`, to a server of contents."""
MAX_AT_ONCE: Final = 32
"""Items that a replica fetches at once; more wait. One prompt alone may name `max_items`."""
MAX_ADDRESSES: Final = 3
"""Addresses of a host that are tried, one after the other."""
_HEADERS: Final = {
    "accept": "image/*, audio/*, video/*, */*;q=0.1",
    "accept-encoding": "identity",
    "user-agent": "RackServe",
}

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host, given its name and the port; raises OSError."""


async def addresses_of(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host as the system knows them.

    Raises:
        OSError: it is not known.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for _, _, _, _, address in found))


class MediaFetcher:
    """Takes the media of one model's prompts.

    Args:
        model: the model's name, for messages.
        spec: what the cluster file says of its media.
        resolve: looks up names.
        may_connect: tells whether an address may be connected to.

    Attributes:
        fetched: items that were fetched.
        fetched_bytes: their bytes.
        refused: how often which reason was given.
    """

    def __init__(
        self,
        model: str,
        spec: MediaSpec,
        *,
        resolve: Resolve = addresses_of,
        may_connect: Callable[[str], bool] = is_public,
    ) -> None:
        self._model = model
        self._spec = spec
        self._resolve = resolve
        self._may_connect = may_connect
        self._places = asyncio.Semaphore(MAX_AT_ONCE)
        self.fetched = 0
        self.fetched_bytes = 0
        self.refused: Counter[MediaRefusal] = Counter()

    def report(self) -> MediaReport:
        """Return the counts so far."""
        if not self.fetched and not self.refused:
            return NO_MEDIA
        refused = {str(reason): count for reason, count in self.refused.items()}
        return MediaReport(self.fetched, self.fetched_bytes, refused)

    async def fetch(self, url: str) -> bytes:
        """Return what is at a URL of http or https.

        Raises:
            MediaRefusedError: it may not be fetched, or could not.
        """
        try:
            # Before it waits for a place: what is refused anyway must not fill the queue.
            self._allowed(read_url(url))
            async with self._places:
                return await self._fetched(url)
        except MediaRefusedError as error:
            self.refused[error.reason] += 1
            raise

    def fetch_now(self, url: str) -> bytes:
        """Do as `fetch` does, in a thread that has no event loop.

        Raises:
            MediaRefusedError: it may not be fetched, or could not.
        """
        try:
            return asyncio.run(self._fetched(url))
        except MediaRefusedError as error:
            self.refused[error.reason] += 1
            raise

    def check_size(self, url: str) -> None:
        """Check the size of what a `data:` URL holds, without decoding it.

        Raises:
            MediaRefusedError: it has over `max_bytes`.
        """
        held = len(url) - url.find(",") - 1
        if held * 3 // 4 - 2 > self._spec.max_bytes:  # base64 ends with up to two characters that stand for nothing
            self.refused[MediaRefusal.SIZE] += 1
            raise self._too_large()

    async def _fetched(self, text: str) -> bytes:
        limit_s = self._spec.timeout_s
        try:
            async with asyncio.timeout(limit_s):
                found = await self._follow(text)
        except TimeoutError as error:
            message = f"the media at {text[:80]!r} were not there within media.timeout_s = {limit_s:g} s"
            raise MediaRefusedError(MediaRefusal.TIME, message) from error
        self.fetched += 1
        self.fetched_bytes += len(found)
        return found

    async def _follow(self, text: str) -> bytes:
        url = self._allowed(read_url(text))
        for _ in range(MAX_REDIRECTS + 1):
            found = await self._get(url)
            if isinstance(found, bytes):
                return found
            try:
                url = self._allowed(read_url(urljoin(f"{url.scheme}://{url.authority}{url.target}", found)))
            except (MediaRefusedError, ValueError) as error:
                message = f"the media at {text[:80]!r} are not there, but somewhere that is refused: {error}"
                raise MediaRefusedError(MediaRefusal.REDIRECT, message) from error
        message = f"the media at {text[:80]!r} are behind more than {MAX_REDIRECTS} redirects"
        raise MediaRefusedError(MediaRefusal.REDIRECT, message)

    def _allowed(self, url: MediaUrl) -> MediaUrl:
        if not is_allowed(url, self._spec.domains):
            domains = ", ".join(self._spec.domains) or "none"
            raise MediaRefusedError(
                MediaRefusal.DOMAIN,
                f"media may not be fetched from {url.authority!r}: the domains that media.domains of the model "
                f"{self._model!r} allows in the cluster file are: {domains}. Send the media inline, as a data: URL",
            )
        return url

    async def _get(self, url: MediaUrl) -> bytes | str:
        """Return what is at a URL, or where it says that it is."""
        addresses = await self._checked_addresses(url)
        failure: Exception | None = None
        async with httpx.AsyncClient(verify=self._tls, trust_env=False, timeout=self._spec.timeout_s) as client:
            for address in addresses:
                # The connection goes to the address; the certificate is checked against the name.
                target = httpx.URL(scheme=url.scheme, host=address, port=url.port, raw_path=url.target.encode("ascii"))
                headers = {**_HEADERS, "host": url.authority}
                request = client.build_request("GET", target, headers=headers, extensions={"sni_hostname": url.host})
                try:
                    answer = await client.send(request, stream=True)
                except httpx.ConnectError as error:
                    failure = error
                    continue
                except httpx.HTTPError as error:
                    failure = error
                    break
                try:
                    return await self._read(url, answer)
                finally:
                    await answer.aclose()
        message = f"the media's server {url.authority!r} cannot be reached"
        raise MediaRefusedError(MediaRefusal.UNREACHABLE, message) from failure

    async def _checked_addresses(self, url: MediaUrl) -> Sequence[str]:
        try:
            addresses = await self._resolve(url.host, url.port)
        except (OSError, UnicodeError) as error:
            message = f"the media's server {url.host!r} is not known"
            raise MediaRefusedError(MediaRefusal.UNREACHABLE, message) from error
        if not addresses or not all(map(self._may_connect, addresses)):
            # One wrong address is enough: the owner of such a name means no good, or does not know the network.
            message = f"the media's server {url.host!r} has an address that is not public; such are never asked"
            raise MediaRefusedError(MediaRefusal.ADDRESS, message)
        return addresses[:MAX_ADDRESSES]

    async def _read(self, url: MediaUrl, answer: httpx.Response) -> bytes | str:
        if answer.is_redirect:
            return answer.headers["location"]
        shown = f"{url.authority}{url.target}"[:80]
        if answer.status_code != HTTPStatus.OK:
            message = f"the media's server answered {answer.status_code} for {shown!r}"
            raise MediaRefusedError(MediaRefusal.ANSWER, message)
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            message = f"the media at {shown!r} come compressed, which was not asked for"
            raise MediaRefusedError(MediaRefusal.ANSWER, message)
        limit = self._spec.max_bytes
        told = answer.headers.get("content-length", "")
        if told.isdecimal() and int(told) > limit:
            raise self._too_large()
        found = bytearray()
        try:
            async for piece in answer.aiter_raw():
                found += piece
                if len(found) > limit:
                    raise self._too_large()
        except httpx.HTTPError as error:
            message = f"the media's server broke off its answer for {shown!r}"
            raise MediaRefusedError(MediaRefusal.ANSWER, message) from error
        return bytes(found)

    def _too_large(self) -> MediaRefusedError:
        message = f"the media have over media.max_bytes = {self._spec.max_bytes} bytes, which the cluster file sets"
        return MediaRefusedError(MediaRefusal.SIZE, message)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()  # takes 20 ms, so it is made once


def bytes_of_data_url(url: str) -> bytes:
    """Return what a `data:` URL in base64 holds.

    Raises:
        MediaRefusedError: it is none.
    """
    about, comma, held = url[5:].partition(",")
    if not comma or not about.lower().endswith(";base64"):
        raise MediaRefusedError(MediaRefusal.URL, "a data: URL must be data:TYPE;base64,DATA")
    try:
        return base64.b64decode(held, validate=True)
    except ValueError as error:
        raise MediaRefusedError(MediaRefusal.URL, f"the data: URL is not base64: {error}") from error
