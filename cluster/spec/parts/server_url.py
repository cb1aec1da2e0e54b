"""The base URL of an OpenAI-compatible server, in every form that people write it."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9.])?")
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*")
"""A path of non-empty segments (RFC 3986, section 3.3)."""
_WANTED: Final = "give http://HOST:PORT or https://HOST:PORT, with the path before /v1 if there is one"
_API_PATHS: Final = ("/chat/completions", "/completions", "/embeddings", "/models", "/responses", "/messages")
_USER: Final = re.compile(r"//[^/@]*@")
"""A name and password before a host, which errors do not repeat."""
_MAX_SHOWN: Final = 100
"""Characters of a URL that errors repeat."""
_DEFAULT_PORT: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """Where a server is.

    Attributes:
        uses_tls: the scheme is https.
        host: a name or an address, without brackets.
        port: the port.
        path_prefix: the path before `/v1`, such as `/openai`; "": none.
    """

    uses_tls: bool
    host: str
    port: int
    path_prefix: str = ""

    @property
    def name(self) -> str:
        """Return `host:port`, followed by the prefix: what the server is called in logs and metrics."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}{self.path_prefix}"

    def __str__(self) -> str:
        return f"http{'s' * self.uses_tls}://{self.name}"


def server_url(text: str) -> ServerUrl:
    """Return the parts of a server's base URL. Without a scheme it is http; `/v1` at its end is left out.

    Raises:
        ValueError: it is no URL of a server; the message says what would be right.
    """
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port
    except ValueError:
        raise ValueError(f"the port or address in {_shown(text)} is wrong; {_WANTED}") from None
    host = (parts.hostname or "").removesuffix(".")
    if parts.scheme not in _DEFAULT_PORT or not _is_host(host) or not text.isprintable():
        raise ValueError(f"{_shown(text)} is no URL of a server; {_WANTED}")
    if port == 0 or (port is None and parts.netloc.endswith(":")):
        raise ValueError(f"the port in {_shown(text)} is missing or wrong; {_WANTED}")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"a name or password before the host of {host!r} is not understood; give the server's key")
    if parts.query or parts.fragment:
        raise ValueError(f"{_shown(text)} has a query or fragment; {_WANTED}")
    prefix = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    is_api_path = any(parts.path.rstrip("/").endswith(f"/v1{path}") for path in _API_PATHS)
    if is_api_path or not _PREFIX.fullmatch(prefix) or any(step in {".", ".."} for step in prefix.split("/")):
        raise ValueError(f"the path of {_shown(text)} is not one before /v1; {_WANTED}")
    return ServerUrl(parts.scheme == "https", host, port or _DEFAULT_PORT[parts.scheme], prefix)


def _is_host(host: str) -> bool:
    if ":" not in host:
        return _HOST.fullmatch(host) is not None
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _shown(text: str) -> str:
    text = _USER.sub("//…@", text)
    return repr(text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…")
