"""The replicas that take requests: the fleet's candidates, as flow control knows them."""

from router.dispatch.fleet import Fleet
from router.dispatch.replica import Replica
from router.dispatch.ticket import Ticket
from router.flow_control.admission import Admission


class Takers:
    """Keeps flow control in step with the fleet.

    Args:
        fleet: the model's replicas.
        admission: the model's flow control.

    Attributes:
        fleet: the model's replicas.
        slots: their room.
    """

    def __init__(self, fleet: Fleet, admission: Admission[Ticket, Replica]) -> None:
        self.fleet = fleet
        self.slots = admission.slots
        self._admission = admission

    def update(self, now_s: float) -> None:
        """Have flow control give requests to the fleet's candidates alone, after these have changed."""
        takers = set(self.fleet.candidates)
        for replica in self.fleet.replicas.values():
            self._admission.drain(replica, now_s, draining=replica not in takers)

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        if {id(replica) for replica in self.slots.replicas} != {id(other) for other in self.fleet.replicas.values()}:
            raise AssertionError("the fleet and flow control know different replicas")
        takers = {id(replica) for replica in self.fleet.candidates}
        if any((id(replica) in takers) == replica.slots.draining for replica in self.slots.replicas):
            raise AssertionError("the replicas that take requests are not the candidates")
