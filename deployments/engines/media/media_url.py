"""Reads the URL of an image, audio or video in the one way in which it is then fetched, and checks its host. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from deployments.engines.media.refused import MediaRefusal, MediaRefusedError

MAX_URL: Final = 8192
"""Characters of a URL above which it is refused; servers take 8 000 (RFC 9110, section 4.1)."""
_PORTS: Final = {"http": 80, "https": 443}
# No user's name, no backslash, no IPv6: what two parsers could read in two ways is not read at all. In the path and
# query are the characters that RFC 3986 has for them, and those that people leave unescaped.
_URL: Final = re.compile(
    r"(https?)://([a-z0-9.-]+)(?::(\d{1,5}))?((?:[/?][!$-;=?-Z\[\]^-~]*)?)(?:#[!-~]*)?", re.IGNORECASE
)
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MediaUrl:
    """A URL, taken apart.

    Attributes:
        scheme: `http` or `https`.
        host: the host's name, in lower case.
        port: the port.
        target: path and query, as they are sent.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """What the header `Host` says: the port only where it is not the scheme's own."""
        return self.host if self.port == _PORTS[self.scheme] else f"{self.host}:{self.port}"


def read_url(text: str) -> MediaUrl:
    """Take a URL apart.

    Raises:
        MediaRefusedError: it is no plain URL of http or https.
    """
    found = _URL.fullmatch(text) if len(text) <= MAX_URL else None
    if found is None:
        scheme = _SCHEME.match(text)
        if scheme is not None and scheme[1].lower() not in _PORTS:
            raise MediaRefusedError(
                MediaRefusal.URL, f"media may come as data:, https: or http: URLs, not as {scheme[1][:40]}: URLs"
            )
        raise MediaRefusedError(
            MediaRefusal.URL,
            f"the media's URL {text[:80]!r} is not understood: it must be https://HOST/PATH in ASCII, of at most "
            f"{MAX_URL} characters, without a user's name; the host must be a name",
        )
    protocol, host = found[1].lower(), found[2].lower()
    port = int(found[3]) if found[3] else _PORTS[protocol]
    target = found[4] if found[4].startswith("/") else "/" + found[4]
    if not 0 < port < 1 << 16:
        raise MediaRefusedError(MediaRefusal.URL, f"the media's URL {text[:80]!r} has a port that there is not")
    return MediaUrl(protocol, host, port, target)


def is_allowed(url: MediaUrl, domains: Sequence[str]) -> bool:
    """Tell whether one of the domains of `MediaSpec.domains` has a URL's host and port."""
    return any(_fits(url, domain) for domain in domains)


def _fits(url: MediaUrl, domain: str) -> bool:
    name, _, port = domain.partition(":")
    ports = {int(port)} if port else set(_PORTS.values())
    if url.port not in ports:
        return False
    return url.host.endswith(name[1:]) and len(url.host) >= len(name) if name.startswith("*.") else url.host == name
