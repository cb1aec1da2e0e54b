"""The history of every request: what became of it, and whether that is right."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

import psutil

_IN_BACKLOG_S: Final = 0.25
"""Seconds before and after a gateway is killed in which its port takes connections that it does not accept any more."""


CUTS: Final = 4
"""Deaths that a request does not survive: with three of them it goes on as a stream (`router/dispatch/resends.py`)."""
KEPT: Final = "prompts kept for others"
"""Name of what replicas keep of prompts that others are to fetch; it may be held as long as its lease."""
TRIED_ALL: Final = "every replica that was tried failed"


class End(StrEnum):
    """What became of a request; each has exactly one end.

    Attributes:
        FINISHED: a whole answer came.
        REFUSED: an error in place of an answer, with a status of its own.
        LEFT: the client went, as it meant to.
        UNREACHED: nobody accepted the connection; nothing was sent.
        CUT: the connection, or the stream by an error event, ended before the answer did.
        STALLED: nothing came for as long as the client waits.
        WRONG: a whole answer with other text or usage than the right one, or two ends of one answer.
    """

    FINISHED = "finished"
    REFUSED = "refused"
    LEFT = "left"
    UNREACHED = "unreached"
    CUT = "cut"
    STALLED = "stalled"
    WRONG = "wrong"


@dataclass(slots=True)
class Asked:
    """One request.

    Attributes:
        number: its place in the history.
        gateway: the name of whom it was sent to.
        port: the client's end of its connection; 0: there was none.
        stream: its answer was to come in pieces.
        began_s: when it was sent, seconds of the monotonic clock.
        ended_s: when it ended; 0: it has not.
        end: what became of it.
        stall_s: longest time without a byte of the answer; from sending on for streams, 0 for whole answers.
        still_s: when its longest time without a byte was over.
        why: what was wrong, for people.
        way: which replicas it was given to and when, as its gateway remembers; "": it was not asked.
    """

    number: int
    gateway: str
    stream: bool
    began_s: float
    port: int = 0
    ended_s: float = 0.0
    end: End | None = None
    stall_s: float = 0.0
    still_s: float = 0.0
    why: str = ""
    way: str = ""


@dataclass(frozen=True, slots=True)
class Killed:
    """A gateway that was killed at once.

    Attributes:
        at_s: when, seconds of the monotonic clock.
        ports: the clients' ends of the connections that it had.
        gone_s: when its process had ended, until which its port takes connections; 0: right then.
    """

    at_s: float
    ports: frozenset[int]
    gone_s: float = 0.0

    @classmethod
    def of(cls, pid: int) -> Self:
        """Note what a stopped process has, just before it is killed."""
        connections = psutil.Process(pid).net_connections("tcp")
        return cls(time.monotonic(), frozenset(each.raddr.port for each in connections if each.raddr))

    def took(self, row: Asked) -> bool:
        """Tell whether a request may have gone with it."""
        if self.at_s - _IN_BACKLOG_S < row.began_s < max(self.at_s, self.gone_s) + _IN_BACKLOG_S:
            return self.at_s <= row.ended_s
        return row.port in self.ports and row.began_s <= self.at_s <= row.ended_s


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a history says.

    Attributes:
        requests: in it.
        ends: how many came to which end.
        failed: requests that should have been answered and were not.
        lost: streams that went with a gateway that was killed, as they may.
        wrong: answers with other bytes or counts.
        cut_too_often: requests that met more deaths of engines than they may, and ended with an error that says so.
        open: requests without an end.
        longest_stall_s: among answers that finished.
        stalls: the answers that stood still longest, the worst first.
        worst: some of what failed, for people.
    """

    requests: int
    ends: Counter[str]
    failed: int
    lost: int
    wrong: int
    cut_too_often: int
    open: int
    longest_stall_s: float
    stalls: Sequence[Asked]
    worst: Sequence[str]


def judged(
    history: Iterable[Asked], killed: Iterable[Killed] = (), deaths: Sequence[tuple[float, float]] = ()
) -> Verdict:
    """Judge a history.

    Args:
        history: every request.
        killed: gateways that were killed at once: what they had on their way may be lost.
        deaths: beginning and end of each fault that kills an engine: `CUTS` of them look like the request's doing.
    """
    rows = list(history)
    kills = list(killed)
    failed, lost, wrong, too_often = [], 0, 0, 0
    finished = [row for row in rows if row.end is End.FINISHED]
    for row in rows:
        if row.end in {End.FINISHED, End.LEFT, None}:
            continue
        if row.end is End.WRONG:
            wrong += 1
        elif row.end in {End.CUT, End.UNREACHED} and any(each.took(row) for each in kills):
            lost += 1
            continue
        elif TRIED_ALL in row.why and sum(a < row.ended_s and b > row.began_s for a, b in deaths) >= CUTS:
            too_often += 1
            continue
        failed.append(row)
    return Verdict(
        requests=len(rows),
        ends=Counter(str(row.end) for row in rows),
        failed=len(failed) - wrong,
        lost=lost,
        wrong=wrong,
        cut_too_often=too_often,
        open=sum(row.end is None for row in rows),
        longest_stall_s=max((row.stall_s for row in finished), default=0.0),
        stalls=sorted(finished, key=lambda row: -row.stall_s)[:8],
        worst=[
            f"{row.end} at {row.began_s:.2f}+{row.ended_s - row.began_s:.2f} s: {row.why}; {row.way}"
            for row in sorted(failed, key=lambda row: row.end is End.WRONG)[:12]
        ],
    )
