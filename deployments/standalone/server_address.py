"""Where a plain server is, as an operator gives it: `http://HOST:PORT`."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from cluster.errors import ClusterError
from router.replicas.access import PLAIN, Access
from router.replicas.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a plain server is.

    Attributes:
        host: name or address of its host.
        port: its port.
        access: how requests are sent there.
        max_requests: requests that may run there at once; 0: as many as flow control finds.
    """

    host: str
    port: int
    access: Access = PLAIN
    max_requests: int = 0

    @property
    def name(self) -> str:
        """Return `host:port`, its replica id."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def endpoint(self, model: str = "") -> Endpoint:
        """Return the row of one of its models for the data plane; "": of none in particular."""
        return Endpoint(self.name, model, self.host, self.port, access=self.access, max_requests=self.max_requests)


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
