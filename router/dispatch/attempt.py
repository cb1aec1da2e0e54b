"""One request given to one replica: the decision, what was expected, and the journal's record of it."""

from router.dispatch.journal import AttemptRecord
from router.dispatch.replica import Replica
from router.estimator.expectation import Expectation
from router.scheduling.interface import Decision


class Attempt:
    """One request on one replica, from the pick to its end there.

    Attributes:
        replica: the replica it was sent to.
        decision: the policy's choice, with the costs it weighed.
        expectation: the work and the wait that the estimator expected of it there.
        record: the journal's record of it.
    """

    __slots__ = ("decision", "expectation", "record", "replica")

    def __init__(self, decision: Decision[Replica], expectation: Expectation, record: AttemptRecord) -> None:
        self.replica = decision.replica
        self.decision = decision
        self.expectation = expectation
        self.record = record
