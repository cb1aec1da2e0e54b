"""Where a plain server is and how it is reached: what the data plane and the polls need to know."""

from dataclasses import dataclass

from cluster.errors import ClusterError
from cluster.spec.parts.server_url import ServerUrl, server_url
from router.replicas.access import PLAIN, Access
from router.replicas.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a plain server is, and how it is reached.

    Attributes:
        host: name or address of its host.
        port: its port.
        access: TLS, path and key.
        max_requests: requests that may run there at once; 0: as many as flow control finds.
        rate_probe: it may be probed for its rates while it is idle.
        given_name: its replica id, if not the one that follows from host, port and path; "": that one.
    """

    host: str
    port: int
    access: Access = PLAIN
    max_requests: int = 0
    rate_probe: bool = False
    given_name: str = ""

    @property
    def name(self) -> str:
        """Return its replica id: `host:port`, followed by the path before `/v1`."""
        access = self.access
        return self.given_name or ServerUrl(access.uses_tls, self.host, self.port, access.path_prefix).name

    def endpoint(self, model: str = "") -> Endpoint:
        """Return the row of one of its models for the data plane; "": of none in particular."""
        return Endpoint(self.name, model, self.host, self.port, access=self.access, max_requests=self.max_requests)


def address_at(url: ServerUrl) -> ServerAddress:
    """Return the address of a server that wants neither a key nor an authority of its own."""
    access = Access(uses_tls=url.uses_tls, server_name=url.host, path_prefix=url.path_prefix)
    return ServerAddress(url.host, url.port, access)


def server_at(url: str) -> ServerAddress:
    """Return the address that a server's URL names.

    Raises:
        ClusterError: the URL is not one that this gateway can use; the message says what would be right.
    """
    try:
        return address_at(server_url(url))
    except ValueError as error:
        raise ClusterError(f"--replica {url}: {error}") from error
