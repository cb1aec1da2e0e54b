"""One request as flow control sees it, from its offer to its end."""

from enum import Enum, auto
from math import inf
from typing import Final, TypeVar

from router.flow_control.priority import Priority
from router.request import NO_TARGETS, LatencyTargets


class RequestState(Enum):
    """Where a request is."""

    NEW = auto()
    """Not offered yet."""
    WAITING = auto()
    """In the gateway's queue."""
    DISPATCHED = auto()
    """On a replica, or about to go to one."""
    ENDED = auto()
    """It was dispatched, and has ended."""
    GONE = auto()
    """It was refused, or its client left while it waited."""


NEW: Final = RequestState.NEW
WAITING: Final = RequestState.WAITING
DISPATCHED: Final = RequestState.DISPATCHED
ENDED: Final = RequestState.ENDED
GONE: Final = RequestState.GONE
# For the hot path: looking up an enum's member takes ten times as long as looking up a global.


class QueuedRequest:
    """One request. Queues keep it by its number, and it does not refer to them, so there are no reference circles.

    Attributes:
        tenant: name of the tenant that sent it.
        priority: its priority class.
        work: estimated work in tokens, above 0: uncached prompt tokens plus weighted output tokens (`work.py`).
        uncached_tokens: prompt tokens in it that are expected to be computed.
        prompt_tokens: tokens of the whole prompt, as far as they are known.
        output_tokens: expected tokens of the answer; 0 where none is generated.
        cost: what its tenant has been charged for it, in seconds of an engine (`engine_cost.py`); 0: nothing yet.
        size_bytes: memory it holds while it waits, in bytes.
        deadline_s: monotonic time by which it must be dispatched; infinite: the model's own bounds apply.
        number: its number among the requests offered to its model, from 1; 0: not offered yet.
        arrived_s: when it was offered, monotonic seconds.
        state: where it is now.
        targets: the latencies that it is to have.
    """

    __slots__ = (
        "arrived_s",
        "cost",
        "deadline_s",
        "number",
        "output_tokens",
        "priority",
        "prompt_tokens",
        "size_bytes",
        "state",
        "targets",
        "tenant",
        "uncached_tokens",
        "work",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - its fields; positional for the hot path
        self,
        tenant: str,
        work: float,
        priority: Priority = Priority.NORMAL,
        size_bytes: int = 0,
        deadline_s: float = inf,
        targets: LatencyTargets = NO_TARGETS,
    ) -> None:
        self.tenant = tenant
        self.work = work
        self.uncached_tokens = work
        self.prompt_tokens = work
        self.output_tokens = 0.0
        self.cost = 0.0
        self.priority = priority
        self.size_bytes = size_bytes
        self.deadline_s = deadline_s
        self.number = 0
        self.arrived_s = 0.0
        self.state: RequestState = NEW
        self.targets = targets

    def is_late(self, now_s: float) -> bool:
        """Tell whether its first token can no longer come in time."""
        return now_s - self.arrived_s >= self.targets.ttft_s


RequestT = TypeVar("RequestT", bound=QueuedRequest)
"""Type of the requests that are queued: the caller's own subclass, such as a ticket."""
