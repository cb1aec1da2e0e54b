"""One replica as one gateway sees it: what it last reported, and what this gateway has on it."""

from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport


class ReplicaSnapshot:
    """A replica's last report and this gateway's own requests on it.

    Attributes:
        endpoint: where it is.
        replica_id: the endpoint's.
        report: the last load report; None before the first, where it has no telemetry, or since it fell silent.
        in_flight: requests this gateway has sent there and not yet seen end.
        sent: requests this gateway has ever sent there.
        accepting: it may be picked; False for a while after it failed a request.
        leaving: it has said that it takes no more requests: it is never picked again.
        silent: its telemetry was heard and is no more: it may be dead, and is picked only where no other is left.
        failures: requests it failed in a row.
        suspect_until_s: when it may be picked again after a failure, in monotonic seconds; 0: it is no suspect.
    """

    __slots__ = (
        "accepting",
        "endpoint",
        "failures",
        "in_flight",
        "leaving",
        "replica_id",
        "report",
        "sent",
        "silent",
        "suspect_until_s",
    )

    def __init__(self, endpoint: Endpoint, report: LoadReport | None = None) -> None:
        self.endpoint = endpoint
        self.replica_id = endpoint.replica_id
        self.report = report
        self.in_flight = 0
        self.sent = 0
        self.accepting = True
        self.leaving = False
        self.silent = False
        self.failures = 0
        self.suspect_until_s = 0.0

    @property
    def usable(self) -> bool:
        """Whether it should be picked before others that are not."""
        return self.accepting and not self.silent

    @property
    def load(self) -> int:
        """Requests on the replica, as best known: all gateways' as last reported, at least this gateway's own."""
        report = self.report
        if report is None:
            return self.in_flight
        return max(self.in_flight, report.running + report.waiting)
