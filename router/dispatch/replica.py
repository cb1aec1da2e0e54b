"""A gateway's one record of a replica: its last report, what is expected of it, and the room it has."""

from router.estimator.replica_estimator import ReplicaEstimator
from router.flow_control.replica_slots import ReplicaSlots
from router.replicas.endpoint import Endpoint


class Replica(ReplicaEstimator):
    """One replica of one model, as long as the directory lists it.

    Attributes:
        slots: its room for more requests.
    """

    __slots__ = ("slots",)

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.slots = ReplicaSlots(endpoint.max_requests)
