"""The priority classes: the most urgent goes first, but no class starves.

The most urgent class with waiting requests is served. One dispatch in `AGED_TURN` goes to a less urgent class whose
oldest request has waited longer than `ageing_s`. So that class keeps moving under any load above it, and the classes
above keep nine tenths of the capacity under any queue below.
"""

from collections.abc import Iterator
from typing import Final, Generic

from router.flow_control.engine_cost import EngineCost
from router.flow_control.fair_queue import FairQueue, TenantQueue
from router.flow_control.priority import Priority
from router.flow_control.queued_request import RequestT

AGED_TURN: Final = 10
"""Dispatches of which one goes to a class whose oldest request has waited too long."""


class PriorityClasses(Generic[RequestT]):
    """The waiting requests of one model.

    Args:
        ageing_s: seconds of waiting after which the oldest request of a less urgent class gives that class a turn.
        prices: what requests cost; None: what is assumed before any replica has told.

    Attributes:
        ageing_s: the same; may be set.
        queues: one queue for each class, the most urgent first.
        count: number of waiting requests, like `len`, but cheaper for the hot path.
    """

    def __init__(self, ageing_s: float, prices: EngineCost | None = None) -> None:
        self.ageing_s = ageing_s
        self.queues: tuple[FairQueue[RequestT], ...] = tuple(FairQueue(prices) for _ in Priority)
        self.count = 0
        self._since_aged = 0

    def __len__(self) -> int:
        return self.count

    @property
    def waiting_work(self) -> float:
        """Estimated work of all waiting requests, in tokens."""
        return sum(queue.waiting_work for queue in self.queues)

    def push(self, request: RequestT, tenant: TenantQueue[RequestT]) -> None:
        """Put a request at the end of its tenant's queue in its class."""
        self.queues[request.priority].push(request, tenant)
        self.count += 1

    def pop(self, now_s: float) -> RequestT | None:
        """Take the next request out, and charge its tenant; None: nothing waits."""
        if not self.count:
            return None
        self.count -= 1
        return self._next_queue(now_s).pop(now_s)

    def remove(self, request: RequestT) -> None:
        """Take a waiting request out, without charging its tenant."""
        self.queues[request.priority].remove(request)
        self.count -= 1

    def put_back(self, request: RequestT) -> None:
        """Undo a dispatch: the request waits again, as its tenant's first, and is not charged."""
        self.queues[request.priority].put_back(request)
        self.count += 1

    def expected_wait_s(self, priority: Priority, tenant: TenantQueue[RequestT], work_per_s: float) -> float:
        """Return the seconds that a request which joins `tenant` now will wait, about.

        Args:
            priority: the request's class.
            tenant: its tenant's queue in that class.
            work_per_s: work that is dispatched per second, of all classes.
        """
        own_s = self.queues[priority].work_ahead(tenant) / work_per_s
        above = sum(queue.waiting_work for queue in self.queues[:priority])
        if not above:
            return own_s
        # After `ageing_s` this class gets one dispatch in `AGED_TURN`, whatever waits above.
        return min(above / work_per_s + own_s, self.ageing_s + own_s * AGED_TURN)

    def displaceable(self, arriving: RequestT, tenant: TenantQueue[RequestT]) -> TenantQueue[RequestT] | None:
        """Return the tenant that must give up a place to a request when the waiting room is full; O(tenants).

        It is the tenant with most requests for its weight in the least urgent class that has any. If that class is the
        request's own, the tenant must have more for its weight than the request's tenant would have.

        Returns:
            The tenant; None: the request itself must be refused.
        """
        for priority in reversed(Priority):
            largest = self.queues[priority].largest()
            if largest is None:
                continue
            if priority > arriving.priority:
                return largest
            fair = priority == arriving.priority and largest is not tenant
            if fair and len(largest.waiting) / largest.weight > (len(tenant.waiting) + 1) / tenant.weight:
                return largest
            return None
        return None

    def waiting(self) -> Iterator[RequestT]:
        """Yield all waiting requests, class by class, each class's oldest first."""
        for queue in self.queues:
            yield from queue.arrivals.values()

    def waiting_by_tenant(self) -> Iterator[tuple[str, Priority, int]]:
        """Yield name, class and number of waiting requests of each tenant that is kept; long idle ones may be gone."""
        for priority, queue in zip(Priority, self.queues, strict=True):
            for name, tenant in queue.tenants.items():
                yield name, priority, len(tenant.waiting)

    def _next_queue(self, now_s: float) -> FairQueue[RequestT]:
        self._since_aged += 1
        first: FairQueue[RequestT] | None = None
        aged: FairQueue[RequestT] | None = None
        oldest_s = now_s - self.ageing_s
        for queue in self.queues:
            if not queue.arrivals:
                continue
            if first is None:
                first = queue
                if self._since_aged < AGED_TURN:
                    return queue
            else:
                arrived_s = next(iter(queue.arrivals.values())).arrived_s
                if arrived_s < oldest_s:
                    oldest_s = arrived_s
                    aged = queue
        if aged is not None:
            self._since_aged = 0
            return aged
        if first is None:
            raise AssertionError("requests are counted as waiting but none is there")
        return first

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        for queue in self.queues:
            queue.check_integrity()
        if self.count != sum(map(len, self.queues)):
            raise AssertionError(f"{self.count} requests are counted as waiting, {sum(map(len, self.queues))} wait")
        for priority, queue in zip(Priority, self.queues, strict=True):
            if any(request.priority != priority for request in queue.arrivals.values()):
                raise AssertionError(f"a request of another class waits in {priority.name}")
