"""A gateway's one record of a replica: its last report, what is expected of it, how it behaves, and the room it has."""

from router.dispatch.health import Health
from router.estimator.replica_estimator import ReplicaEstimator
from router.flow_control.replica_slots import ReplicaSlots
from router.replicas.endpoint import Endpoint


class Replica(ReplicaEstimator):
    """One replica of one model, as long as the directory lists it.

    Attributes:
        health: whether it gets requests, by how it treated the last ones.
        slots: its room for more requests.
    """

    __slots__ = ("health", "slots")

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.health = Health()
        self.slots = ReplicaSlots()
