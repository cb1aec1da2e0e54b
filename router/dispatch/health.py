"""How a replica has treated its last requests: whether it is in use, left out for a while, or on probation."""

from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from router.dispatch.attempt import Attempt

ERRORS_IN_A_ROW: Final = 3
"""Different requests in a row that a replica answers with an error before it is left out. Fewer would blame it for one
client's bad request; with more, more requests have to be sent twice."""
PAUSE_S: Final = 0.5
"""Seconds for which a replica is left out at first; each further time in a row doubles them."""
PAUSE_MAX_S: Final = 8.0
"""Longest such pause, in seconds."""
PROBE_S: Final = 2.0
"""Seconds for which others wait for the request that decides a probation: its answer may be long and come in one piece.
After them a replica whose connection had broken counts as up, because connections break at once; one that had answered
with errors gets another request."""


class Standing(StrEnum):
    """Whether a replica gets requests."""

    UP = "up"
    """It does."""
    OUT = "out"
    """It failed, and gets none until its pause is over."""
    PROBATION = "probation"
    """Its pause is over. It gets one request at a time until one is answered well."""


UP: Final = Standing.UP
OUT: Final = Standing.OUT
PROBATION: Final = Standing.PROBATION
# For the hot path: looking up an enum's member takes ten times as long as looking up a global.


class Health:
    """A replica's standing, and why.

    Attributes:
        standing: whether it gets requests.
        errors: keys of the different requests that it answered with an error since its last whole answer, at most
            `ERRORS_IN_A_ROW`.
        pauses: times in a row that it was left out.
        by_errors: it was last left out for errors that it answered; False: for connections that broke.
        out_s: when it was last left out, monotonic seconds.
        until_s: when its pause is over, or its probe is no longer waited for, monotonic seconds.
        probe: the attempt that decides its probation; None: there is none on it now.
    """

    __slots__ = ("by_errors", "errors", "out_s", "pauses", "probe", "standing", "until_s")

    def __init__(self) -> None:
        self.standing: Standing = UP
        self.errors: frozenset[int] = frozenset()
        self.pauses = 0
        self.by_errors = False
        self.out_s = 0.0
        self.until_s = 0.0
        self.probe: Attempt | None = None

    @property
    def is_failing(self) -> bool:
        """Whether it has answered `ERRORS_IN_A_ROW` different requests in a row with an error."""
        return len(self.errors) >= ERRORS_IN_A_ROW

    @property
    def takes(self) -> bool:
        """Whether it may be given a request: it is up, or on probation without a probe."""
        return self.standing is UP or (self.standing is PROBATION and self.probe is None)

    def count_error(self, key: int) -> None:
        """Count a request that was answered with an error; the same key counts once."""
        if not self.is_failing:
            self.errors |= {key}

    def leave_out(self, now_s: float, *, by_errors: bool) -> None:
        """Begin a pause, twice as long as the last one in a row."""
        self.pauses += 1
        self.standing = OUT
        self.by_errors = by_errors
        self.out_s = now_s
        self.until_s = now_s + min(PAUSE_MAX_S, PAUSE_S * 2.0 ** min(self.pauses - 1, 10))
        self.probe = None

    def begin_probation(self) -> None:
        """End the pause, or the wait for a probe: one request may be given to it."""
        self.standing = PROBATION
        self.probe = None

    def begin_probe(self, attempt: "Attempt", now_s: float) -> None:
        """Let this attempt decide the probation."""
        self.probe = attempt
        self.until_s = now_s + PROBE_S

    def reinstate(self) -> None:
        """Give it requests again. What it did is forgotten only after a whole answer."""
        self.standing = UP
        self.probe = None

    def forget(self) -> None:
        """Forget errors and pauses: it has given a whole answer."""
        self.errors = frozenset()
        self.pauses = 0
