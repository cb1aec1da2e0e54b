"""One request as flow control knows it, from its offer to its end."""

from enum import Enum, auto
from math import inf
from typing import TypeVar

from router.flow_control.priority import Priority


class RequestState(Enum):
    """Where a request is."""

    NEW = auto()
    WAITING = auto()
    DISPATCHED = auto()
    ENDED = auto()
    GONE = auto()


class QueuedRequest:
    """One request. It refers to nothing that refers to it: queues keep it by its number.

    Attributes:
        tenant: whose it is.
        priority: its class.
        work: estimated work, in tokens: uncached prompt tokens plus weighted output tokens, above 0. See `work`.
        size_bytes: memory it holds while it waits.
        deadline_s: it must be dispatched by then; infinite: the model's own bounds apply.
        number: names it among all that its model was offered; 0 before it is offered.
        arrived_s: when it was offered.
        state: where it is now.
    """

    __slots__ = ("arrived_s", "deadline_s", "number", "priority", "size_bytes", "state", "tenant", "work")

    def __init__(
        self,
        tenant: str,
        work: float,
        priority: Priority = Priority.NORMAL,
        size_bytes: int = 0,
        deadline_s: float = inf,
    ) -> None:
        self.tenant = tenant
        self.work = work
        self.priority = priority
        self.size_bytes = size_bytes
        self.deadline_s = deadline_s
        self.number = 0
        self.arrived_s = 0.0
        self.state = RequestState.NEW


RequestT = TypeVar("RequestT", bound=QueuedRequest)
"""A queued request with what its dispatcher knows of it beside."""
