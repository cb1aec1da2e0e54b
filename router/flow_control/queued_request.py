"""One request as admission knows it, from its offer to its end."""

from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING, Generic, TypeVar

from router.flow_control.priority import Priority

if TYPE_CHECKING:
    from router.flow_control.fair_queue import TenantQueue

OwnerT = TypeVar("OwnerT")


class RequestState(Enum):
    """Where a request is."""

    NEW = auto()
    WAITING = auto()
    DISPATCHED = auto()
    ENDED = auto()
    GONE = auto()


class QueuedRequest(Generic[OwnerT]):
    """One request; made by the gateway, kept by it until the request ends.

    Attributes:
        owner: what the gateway knows the request by; admission only hands it back.
        tenant: whose it is.
        priority: its class.
        work: estimated work, in tokens: uncached prompt tokens plus weighted output tokens, above 0. See `work`.
        size_bytes: memory it holds while it waits.
        deadline_s: it must be dispatched by then; infinite: the model's own bounds apply.
        arrived_s: when it was offered.
        state: where it is now.
        flow: its tenant's queue within its class.
    """

    __slots__ = ("arrived_s", "deadline_s", "flow", "owner", "priority", "size_bytes", "state", "tenant", "work")

    def __init__(  # noqa: PLR0913, PLR0917 - what is known of a request; positional for the hot path
        self,
        owner: OwnerT,
        tenant: str,
        work: float,
        priority: Priority = Priority.NORMAL,
        size_bytes: int = 0,
        deadline_s: float = inf,
    ) -> None:
        self.owner = owner
        self.tenant = tenant
        self.work = work
        self.priority = priority
        self.size_bytes = size_bytes
        self.deadline_s = deadline_s
        self.arrived_s = 0.0
        self.state = RequestState.NEW
        self.flow: TenantQueue[OwnerT] | None = None
