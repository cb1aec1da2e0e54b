"""Who is in the cluster: the rows of the directory and the views it hands out. Plain data, no Ray."""

from dataclasses import dataclass

from router.replicas.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class GatewayEndpoint:
    """Where a gateway process listens.

    Attributes:
        gateway_id: unique for one life of one gateway process.
        host: its address.
        port: the apps' port.
        admin_port: the operators' port, with `/metrics` and `/state`.
        node_id: the Ray node it is on; "": not known.
        scheme: protocol of the apps' port: `http` or `https`.
        settings: a digest of what the process was started with; during an update, old and new gateways differ in it.
        admin_host: address of the admin port; "": `host`.
    """

    gateway_id: str
    host: str
    port: int
    admin_port: int
    node_id: str = ""
    scheme: str = "http"
    settings: str = ""
    admin_host: str = ""

    @property
    def admin_url(self) -> str:
        """Return the URL of the admin port, without a path."""
        host = self.admin_host or self.host
        return f"http://[{host}]:{self.admin_port}" if ":" in host else f"http://{host}:{self.admin_port}"


Member = Endpoint | GatewayEndpoint


def member_id(member: Member) -> str:
    """Return the id of a member's lease."""
    return member.replica_id if isinstance(member, Endpoint) else member.gateway_id


@dataclass(frozen=True, slots=True)
class View:
    """The directory's members at one moment.

    Attributes:
        epoch: the name of one life of the directory; a restarted directory is empty and has another epoch.
        version: grows with every change within an epoch.
        settled: the directory has run for a whole lease, so every live member has announced itself: a member missing
            here is gone.
        replicas: live replicas, in id order.
        gateways: live gateways, in id order.
        withdrawn: ids of members that recently left by themselves; they never come back.
    """

    epoch: str
    version: int
    settled: bool
    replicas: tuple[Endpoint, ...] = ()
    gateways: tuple[GatewayEndpoint, ...] = ()
    withdrawn: frozenset[str] = frozenset()


class LastKnownReplicas:
    """The replicas a gateway uses, kept while the directory is away or has just restarted empty.

    A directory that has just started knows only the members that have announced themselves so far. Until it is settled,
    replicas known from before stay, unless they withdrew, or were seen in the new epoch and then left.
    """

    def __init__(self) -> None:
        self._epoch = ""
        self._version = -1
        self._from_before: dict[str, Endpoint] = {}
        self._now: dict[str, Endpoint] = {}

    def apply(self, view: View) -> tuple[Endpoint, ...]:
        """Apply a view and return the replicas to use, in id order.

        A view older than the last one of its epoch is ignored.
        """
        if view.epoch != self._epoch:
            self._from_before = self._from_before | self._now
            self._epoch = view.epoch
        elif view.version < self._version:
            return self.replicas
        self._version = view.version
        self._now = {endpoint.replica_id: endpoint for endpoint in view.replicas}
        if view.settled:
            self._from_before = {}
        for replica_id in (*self._now, *view.withdrawn):
            self._from_before.pop(replica_id, None)  # from here on the new epoch alone decides
        return self.replicas

    @property
    def replicas(self) -> tuple[Endpoint, ...]:
        """The replicas to use, in id order."""
        known = self._from_before | self._now
        return tuple(endpoint for _, endpoint in sorted(known.items()))
