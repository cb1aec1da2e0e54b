"""What admission says of a request: `Admit | Wait | Reject`."""

from dataclasses import dataclass
from math import ceil

from router.outcome import Outcome

MAX_RETRY_AFTER_S = 600.0


@dataclass(frozen=True, slots=True)
class Admit:
    """Send it to a replica now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """It waits in the gateway; `Admission.next` will return it, or `Admission.expire` refuse it."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse it.

    Attributes:
        outcome: why.
        retry_after_s: from now, when the same request would be taken if nobody else came; 1 to `MAX_RETRY_AFTER_S`.
        message: for the client, in words.
    """

    outcome: Outcome
    retry_after_s: float
    message: str

    @property
    def retry_after(self) -> int:
        """The value of the `Retry-After` header: whole seconds, rounded up."""
        return ceil(self.retry_after_s)


Verdict = Admit | Wait | Reject

ADMIT = Admit()
WAIT = Wait()


def reject(outcome: Outcome, retry_after_s: float, message: str) -> Reject:
    """Make a `Reject` with the time to retry after within its bounds."""
    return Reject(outcome, min(MAX_RETRY_AFTER_S, max(1.0, retry_after_s)), message)
