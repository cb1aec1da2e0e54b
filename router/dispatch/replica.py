"""A gateway's one record of a replica: its last report, what is expected of it, how it behaves, and the room it has."""

from router.dispatch.engine import SharedEngine
from router.dispatch.health import Health
from router.estimator.replica_estimator import ReplicaEstimator
from router.flow_control.slots.replica_slots import ReplicaSlots
from router.flow_control.slots.running_mean import RunningMean
from router.replicas.endpoint import Endpoint


class Replica(ReplicaEstimator):
    """One replica of one model, as long as the directory lists it.

    Args:
        endpoint: where it is.
        engine: what it shares with other models of the same server; None: it shares nothing.

    Attributes:
        health: whether it gets requests, by how it treated the last ones.
        heard_s: when it last showed that it lives, monotonic seconds: by a report, an answer or a poll.
        ran: how many requests it ran lately; kept while some of them are to have a time per token.
        slots: its room for more requests.
        shared: what it shares with other models of the same server; kept as long as this record is.
    """

    __slots__ = ("health", "heard_s", "ran", "shared", "slots")

    def __init__(self, endpoint: Endpoint, engine: SharedEngine | None = None) -> None:
        self.shared = engine or SharedEngine()
        super().__init__(endpoint, engine=self.shared.load, pending=self.shared.pending)
        self.health = Health()
        self.heard_s = 0.0
        self.ran = RunningMean()
        self.slots = ReplicaSlots(endpoint.max_requests)
