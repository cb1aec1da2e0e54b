"""One request given to one replica: what was decided, what was expected, and what the journal keeps of it."""

from router.dispatch.journal import AttemptRecord
from router.dispatch.replica import Replica
from router.estimator.expectation import Expectation
from router.scheduling.interface import Decision


class Attempt:
    """One request on one replica, from the pick to its end there.

    Attributes:
        replica: where it was sent.
        decision: what the policy chose and weighed.
        expectation: what was expected of it.
        record: what the journal keeps.
    """

    __slots__ = ("decision", "expectation", "record", "replica")

    def __init__(self, decision: Decision[Replica], expectation: Expectation, record: AttemptRecord) -> None:
        self.replica = decision.replica
        self.decision = decision
        self.expectation = expectation
        self.record = record
