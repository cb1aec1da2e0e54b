"""Who is in the cluster: the rows of the directory and the views it hands out. Plain data, no Ray."""

from dataclasses import dataclass

from router.replicas.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class GatewayEndpoint:
    """Where a gateway process is.

    Attributes:
        gateway_id: unique for one life of one gateway process.
        host: the address it is reached at.
        port: the apps' port.
        admin_port: the operators' port, with `/metrics` and `/state`.
        node_id: the Ray node it is on, or "".
        scheme: what the apps' port speaks: `http` or `https`.
        settings: a digest of what the process was started with; others have others while an update rolls.
    """

    gateway_id: str
    host: str
    port: int
    admin_port: int
    node_id: str = ""
    scheme: str = "http"
    settings: str = ""


Member = Endpoint | GatewayEndpoint


def member_id(member: Member) -> str:
    """Return the id a member holds its lease under."""
    return member.replica_id if isinstance(member, Endpoint) else member.gateway_id


@dataclass(frozen=True, slots=True)
class View:
    """The directory's members at one moment.

    Attributes:
        epoch: names one life of the directory; a restarted directory starts from nothing under another.
        version: grows with every change within an epoch.
        settled: the directory has lived for a lease: whoever is alive has had the time to announce itself, so who is
            missing here is gone.
        replicas: live replicas, in id order.
        gateways: live gateways, in id order.
        withdrawn: ids that left of their own accord a short while ago; they never come back.
    """

    epoch: str
    version: int
    settled: bool
    replicas: tuple[Endpoint, ...] = ()
    gateways: tuple[GatewayEndpoint, ...] = ()
    withdrawn: frozenset[str] = frozenset()


class LastKnownReplicas:
    """The replicas a gateway goes by, kept up while the directory is away or has just restarted empty-handed.

    A directory that has just started knows only who has announced itself so far. Until it is settled, replicas known
    from before stay, unless they have been seen under the new epoch and left, or withdrew.
    """

    def __init__(self) -> None:
        self._epoch = ""
        self._version = -1
        self._from_before: dict[str, Endpoint] = {}
        self._now: dict[str, Endpoint] = {}

    def apply(self, view: View) -> tuple[Endpoint, ...]:
        """Take a view and return the replicas to go by, in id order.

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
            self._from_before.pop(replica_id, None)  # from here on the new epoch's word counts
        return self.replicas

    @property
    def replicas(self) -> tuple[Endpoint, ...]:
        """The replicas to go by, in id order."""
        known = self._from_before | self._now
        return tuple(endpoint for _, endpoint in sorted(known.items()))
