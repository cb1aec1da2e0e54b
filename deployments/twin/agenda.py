"""What is due in a run, in the order of its times."""

from enum import IntEnum, auto
from heapq import heappop, heappush
from itertools import count


class Due(IntEnum):
    """A kind of event."""

    ENGINE = auto()
    """The steps under way of an engine end."""
    ARRIVES = auto()
    """A client sends the next request of its conversation."""
    REPORT = auto()
    """A part of the replicas reports its load."""
    OPENING = auto()
    """A replica is expected to have room for a request that waits."""
    BLOCKS = auto()
    """KV blocks have come from another replica."""
    READY = auto()
    """A replica has started."""
    KEEP = auto()
    """What pools lack is looked at."""
    LIMITS = auto()
    """The tenants' limits are divided between the gateways."""
    SCALE = auto()
    """The autoscalers decide."""
    HAPPENS = auto()
    """An event of the scenario."""
    BACK = auto()
    """Machines are back."""
    DRAINED = auto()
    """The time is over that a leaving replica has for its requests."""
    SAMPLE = auto()
    """A point of the timeline."""


class Agenda:
    """The events to come. Of two at the same time the one that was put there first is first."""

    __slots__ = ("_events", "_numbers")

    def __init__(self) -> None:
        self._events: list[tuple[float, int, Due, object]] = []
        self._numbers = count()

    @property
    def next_s(self) -> float:
        """Time of the next event, seconds from the start."""
        return self._events[0][0]

    def push(self, at_s: float, kind: Due, subject: object = None) -> None:
        """Put an event there."""
        heappush(self._events, (at_s, next(self._numbers), kind, subject))

    def pop(self) -> tuple[float, Due, object]:
        """Take the next event: its time, its kind, and what it is about."""
        at_s, _, kind, subject = heappop(self._events)
        return at_s, kind, subject
