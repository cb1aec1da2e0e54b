"""One replica as one gateway sees it: its last load report, and this gateway's requests on it."""

from cluster.spec.role import Role
from router.replicas.endpoint import Endpoint, Presence
from router.replicas.engine_load import EngineLoad
from router.replicas.load_report import LoadReport


class ReplicaSnapshot:
    """A replica's last load report, this gateway's requests on it, and whether it may be picked.

    Attributes:
        endpoint: where it is.
        replica_id: its id, as in `endpoint`.
        report: its last load report; None: there is none yet, it has no telemetry, or its telemetry went silent.
        in_flight: requests for its model that this gateway sent there and that have not ended.
        engine: this gateway's requests on its engine, of all models there.
        sent: requests that this gateway ever sent there.
        accepting: whether it may be picked; False for a while after it failed, as `router/dispatch/health.py` says.
        leaving: it has said that it takes no more requests, so it is never picked again.
        silent: its telemetry has stopped, or it is slow to give a sign of life. It may be dead, so it is picked only
            where no usable replica is left.
    """

    __slots__ = (
        "accepting",
        "endpoint",
        "engine",
        "in_flight",
        "leaving",
        "replica_id",
        "report",
        "sent",
        "silent",
    )

    def __init__(self, endpoint: Endpoint, report: LoadReport | None = None, engine: EngineLoad | None = None) -> None:
        self.endpoint = endpoint
        self.engine = engine or EngineLoad()
        self.replica_id = endpoint.replica_id
        self.report = report
        self.in_flight = 0
        self.sent = 0
        self.accepting = True
        self.leaving = False
        self.silent = endpoint.presence is Presence.SILENT

    @property
    def stays(self) -> bool:
        """Whether it can be reached and has not said that it takes no more requests."""
        return not self.leaving and self.endpoint.presence is not Presence.AWAY

    @property
    def answers(self) -> bool:
        """Whether it generates answers; else it only computes prompts for others."""
        return self.endpoint.role is not Role.PREFILL

    @property
    def keeps_prompts(self) -> bool:
        """Whether it computes prompts for others, and keeps their blocks until those have fetched them."""
        card = self.endpoint.transfer
        return card is not None and card.sends

    @property
    def usable(self) -> bool:
        """Whether it accepts requests and its telemetry is not silent."""
        return self.accepting and not self.silent

    @property
    def load(self) -> int:
        """Requests on the replica: those of all gateways by its last report, but at least this gateway's own."""
        report = self.report
        if report is None:
            return self.engine.in_flight
        return max(self.engine.in_flight, report.running + report.waiting)
