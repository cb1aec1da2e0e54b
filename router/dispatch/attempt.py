"""One request given to one replica: the decision, what was expected of it, and the journal's record of it."""

from router.dispatch.journal import AttemptRecord
from router.dispatch.replica import Replica
from router.estimator.expectation import Expectation, Usage
from router.scheduling.interface import Decision


class Attempt:
    """One request on one replica, from the pick to its end there.

    Attributes:
        replica: the replica it was sent to.
        decision: the policy's choice, with the costs it weighed.
        expectation: the work and the wait that the estimator expected of it there.
        record: the journal's record of it.
        has_place: it has a place on the replica; False: its prompt is computed elsewhere, and it takes one when it is
            sent there.
        target_class: class of its token time's target, by which the replica's slack counts it; None: it does not.
    """

    __slots__ = ("decision", "expectation", "has_place", "record", "replica", "target_class")

    def __init__(
        self, replica: Replica, decision: Decision[Replica], expectation: Expectation, record: AttemptRecord
    ) -> None:
        self.replica = replica
        self.decision = decision
        self.expectation = expectation
        self.record = record
        self.has_place = True
        self.target_class: int | None = None


class PrefillLeg(Attempt):
    """The first leg of a request whose prompt is computed on one replica and fetched by the one that answers.

    Attributes:
        receiver: the replica that will fetch the prompt's blocks.
        due_s: time after which the replica is slower than expected by far, monotonic seconds.
        done_s: when the prompt was computed; None: it is not yet.
        kept_until_s: time until which the replica keeps the prompt's blocks, monotonic seconds; 0: none are kept.
        usage: the tokens that the replica says the prompt took.
    """

    __slots__ = ("done_s", "due_s", "kept_until_s", "receiver", "usage")

    def __init__(  # noqa: PLR0913, PLR0917 - its fields
        self,
        replica: Replica,
        decision: Decision[Replica],
        expectation: Expectation,
        record: AttemptRecord,
        receiver: Replica,
        due_s: float,
    ) -> None:
        super().__init__(replica, decision, expectation, record)
        self.receiver = receiver
        self.due_s = due_s
        self.done_s: float | None = None
        self.kept_until_s = 0.0
        self.usage = Usage()
