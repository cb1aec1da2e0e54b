"""Admission's verdict on a request: `Admit | Wait | Reject`."""

from dataclasses import dataclass
from math import ceil
from typing import Final

from router.outcome import Outcome

MAX_RETRY_AFTER_S: Final = 600.0
"""Longest time after which a refused client is asked to try again, in seconds."""


@dataclass(frozen=True)
class Admit:
    """Send it to a replica now."""


@dataclass(frozen=True)
class Wait:
    """It waits in the gateway; `Admission.next` will return it, or `Admission.expire` refuse it."""


@dataclass(frozen=True)
class Reject:
    """Refuse it.

    Attributes:
        outcome: the reason.
        retry_after_s: seconds until the same request would be taken if no other came, 1 to `MAX_RETRY_AFTER_S`.
        message: the reason in words, for the client.
    """

    outcome: Outcome
    retry_after_s: float
    message: str

    @property
    def retry_after(self) -> int:
        """The value of the `Retry-After` header: whole seconds, rounded up."""
        return ceil(self.retry_after_s)

    @property
    def retry_after_ms(self) -> int:
        """The same in milliseconds, for clients that read `Retry-After-Ms`."""
        return ceil(1000 * self.retry_after_s)


Verdict = Admit | Wait | Reject

ADMIT: Final = Admit()
WAIT: Final = Wait()


def reject(outcome: Outcome, retry_after_s: float, message: str) -> Reject:
    """Make a `Reject`, with `retry_after_s` brought within 1 to `MAX_RETRY_AFTER_S` seconds."""
    return Reject(outcome, min(MAX_RETRY_AFTER_S, max(1.0, retry_after_s)), message)
