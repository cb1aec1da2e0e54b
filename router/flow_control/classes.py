"""The priority classes: strict between them, with a bound that lets none starve.

The most urgent class that has requests waiting is served. A class whose oldest request has waited longer than
`ageing_s` is owed one dispatch in `AGED_TURN`. It so keeps moving however much comes in above it, while those above
keep nine tenths of the capacity however long the queue below has become.
"""

from collections.abc import Iterator
from typing import Generic

from router.flow_control.fair_queue import FairQueue, TenantQueue
from router.flow_control.priority import Priority
from router.flow_control.queued_request import RequestT

AGED_TURN = 10
"""Of so many dispatches in a row, one goes to a class that has waited too long."""


class PriorityClasses(Generic[RequestT]):
    """The waiting requests of one model.

    Args:
        ageing_s: a class below others is owed its turn once its oldest request has waited so long.

    Attributes:
        queues: by class, the most urgent first.
        count: requests that wait; `len` says the same, this is for the hot path.
    """

    def __init__(self, ageing_s: float) -> None:
        self.ageing_s = ageing_s
        self.queues: tuple[FairQueue[RequestT], ...] = tuple(FairQueue() for _ in Priority)
        self.count = 0
        self._since_aged = 0

    def __len__(self) -> int:
        return self.count

    @property
    def waiting_work(self) -> float:
        """Estimated work of all that wait."""
        return sum(queue.waiting_work for queue in self.queues)

    def push(self, request: RequestT, tenant: TenantQueue[RequestT]) -> None:
        """Put a request at the end of its tenant's queue in its class."""
        self.queues[request.priority].push(request, tenant)
        self.count += 1

    def pop(self, now_s: float) -> RequestT | None:
        """Take the next request out; None: nothing waits."""
        if not self.count:
            return None
        self.count -= 1
        return self._next_queue(now_s).pop()

    def remove(self, request: RequestT) -> None:
        """Take a waiting request out uncharged."""
        self.queues[request.priority].remove(request)
        self.count -= 1

    def put_back(self, request: RequestT) -> None:
        """Undo a dispatch: the request waits again, as its tenant's first, and is not charged."""
        self.queues[request.priority].put_back(request)
        self.count += 1

    def expected_wait_s(self, priority: Priority, tenant: TenantQueue[RequestT], work_per_s: float) -> float:
        """Return how long a request that joins `tenant` now will wait, about, if `work_per_s` is worked off in all."""
        own_s = self.queues[priority].work_ahead(tenant) / work_per_s
        above = sum(queue.waiting_work for queue in self.queues[:priority])
        if not above:
            return own_s
        # Once this class has grown old it is served beside those above, in its turns.
        return min(above / work_per_s + own_s, self.ageing_s + own_s * AGED_TURN)

    def displaceable(self, arriving: RequestT, tenant: TenantQueue[RequestT]) -> TenantQueue[RequestT] | None:
        """Return the tenant that must make way for a request that comes when there is no more room; O(tenants).

        It is the largest of the least urgent class, if that is less urgent than the request's own; within the request's
        class, the largest if it has more waiting for its weight than the request's tenant would have.
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
        """Yield all that wait, class by class, oldest first."""
        for queue in self.queues:
            yield from queue.arrivals.values()

    def tenants(self) -> Iterator[tuple[Priority, str, TenantQueue[RequestT]]]:
        """Yield class, tenant and queue of all tenants heard of lately."""
        for priority, queue in zip(Priority, self.queues, strict=True):
            for name, tenant in queue.tenants.items():
                yield priority, name, tenant

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
