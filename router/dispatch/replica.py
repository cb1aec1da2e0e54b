"""The one record of a replica in a gateway: what it reported, what is expected of it, and the room it has."""

from router.estimator.replica_estimator import ReplicaEstimator
from router.flow_control.replica_slots import ReplicaSlots
from router.replicas.endpoint import Endpoint


class Replica(ReplicaEstimator):
    """One replica of one model, for as long as the directory knows it.

    Attributes:
        slots: the room it has for more requests.
    """

    __slots__ = ("slots",)

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.slots = ReplicaSlots()
