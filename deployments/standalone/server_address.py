"""Where a plain server is, as an operator gives it: `http://HOST:PORT`."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from cluster.errors import ClusterError


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a plain server is.

    Attributes:
        host: name or address of its host.
        port: its port.
    """

    host: str
    port: int

    @property
    def name(self) -> str:
        """Return `host:port`, its replica id."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def server_at(url: str) -> ServerAddress:
    """Return the address that a server's URL names.

    Raises:
        ClusterError: the URL is not one that this gateway can use; the message says what would be right.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port if parts.port is not None or parts.netloc.endswith(":") else 80
    except ValueError:
        port = None
    if parts.scheme != "http" or not parts.hostname or parts.path.rstrip("/") not in {"", "/v1"} or parts.query:
        raise ClusterError(f"--replica {url}: give http://HOST:PORT (plain HTTP, no path but /v1)")
    if not port:
        raise ClusterError(f"--replica {url}: the port is missing or wrong")
    return ServerAddress(parts.hostname, port)
