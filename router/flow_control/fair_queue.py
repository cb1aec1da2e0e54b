"""Weighted fair queueing between the tenants of one priority class.

Start-time fair queueing (Goyal, Vin, Cheng: "Start-time Fair Queuing", 1996). Each tenant's queue has a tag: the
virtual time at which its next request starts. The queue with the smallest tag is served next, and its tag grows by
`cost / weight`. The class's virtual time is the tag that was served last. A queue that was empty joins at this time, so
a tenant neither saves up its share for later nor pays for capacity that would have been idle.

Within a tenant, a request whose first token can no longer come in time lets those pass that still can be. Otherwise,
once a queue is longer than the target, everybody behind would be late as well, also after the load has fallen. One
dispatch in `LATE_TURN` still takes the oldest.

A request is priced when it is dispatched, so what has waited costs what it costs now. When it ends, its tenant's tag is
moved by the difference between real and estimated cost. So in the long run each tenant gets its share of the engines'
real time and memory, even if estimates are wrong, or prices were when the request came.
"""

from collections import OrderedDict
from collections.abc import Iterator
from heapq import heapify, heappop, heappush, heapreplace
from typing import Final, Generic

from router.flow_control.engine_cost import EngineCost
from router.flow_control.queued_request import RequestT

_STALE_ENTRIES: Final = 64
"""Entries in the heap, beyond two for each tenant with waiting requests, above which stale ones are dropped."""
LATE_TURN: Final = 10
"""Dispatches of a tenant of which one takes its oldest request, in time or not, so that late ones move on."""
_KEPT_TENANTS: Final = 1024
"""Number of tenants at which idle ones are forgotten before another is added."""
_NO_ENTRY: Final = -1
"""Number that stands for no entry in the heap."""


class TenantQueue(Generic[RequestT]):
    """One tenant's requests within one class.

    Attributes:
        name: the tenant's name.
        weight: its share of the capacity, relative to the other tenants' weights.
        tag: virtual time at which its next request starts, in cost per unit of weight.
        waiting: its waiting requests by number, oldest first.
        in_time: those of them that are not known to be late, which are served first.
        waiting_work: estimated work of all waiting requests, in tokens.
        late_work: that of those which are known to be late.
        in_flight: number of its requests that are dispatched and have not ended.
        entry: number of its valid entry in the heap; -1: none.
    """

    __slots__ = (
        "_since_oldest",
        "entry",
        "in_flight",
        "in_time",
        "late_work",
        "name",
        "tag",
        "waiting",
        "waiting_work",
        "weight",
    )

    def __init__(self, name: str, weight: float) -> None:
        self.name = name
        self.weight = weight
        self.tag = 0.0
        self.waiting: OrderedDict[int, RequestT] = OrderedDict()
        self.in_time: OrderedDict[int, RequestT] = OrderedDict()
        self.waiting_work = 0.0
        self.late_work = 0.0
        self.in_flight = 0
        self.entry = _NO_ENTRY
        self._since_oldest = 0

    def next(self, now_s: float) -> RequestT:
        """Return the request to serve next; at least one waits."""
        in_time = self.in_time
        while in_time:
            request = next(iter(in_time.values()))
            if not request.is_late(now_s):
                break
            del in_time[request.number]
            self.late_work += request.work
        self._since_oldest += 1
        if in_time and self._since_oldest < LATE_TURN:
            return request
        self._since_oldest = 0
        return next(iter(self.waiting.values()))

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        late = sum(request.work for number, request in self.waiting.items() if number not in self.in_time)
        if not self.in_time.keys() <= self.waiting.keys() or not _close(self.late_work, late):
            raise AssertionError(f"{self.name}: {self.late_work} of its work is late, in truth {late}")
        if not _close(self.waiting_work, sum(request.work for request in self.waiting.values())):
            raise AssertionError(f"{self.name}: waiting work is {self.waiting_work}")
        if self.in_flight < 0:
            raise AssertionError(f"{self.name}: {self.in_flight} in flight")


class FairQueue(Generic[RequestT]):
    """The waiting requests of one class. Every operation is O(log tenants) or O(1), amortised.

    Args:
        prices: what requests cost; None: what is assumed before any replica has told.

    Attributes:
        tenants: the tenants' queues, by name.
        arrivals: all waiting requests by number, oldest first.
        waiting_work: estimated work of all waiting requests, in tokens.
        waiting_weight: sum of the weights of the tenants with waiting requests.
    """

    def __init__(self, prices: EngineCost | None = None) -> None:
        self.tenants: dict[str, TenantQueue[RequestT]] = {}
        self._prices = prices or EngineCost()
        self.arrivals: OrderedDict[int, RequestT] = OrderedDict()
        self.waiting_work = 0.0
        self.waiting_weight = 0.0
        self._virtual_time = 0.0
        self._heap: list[tuple[float, int, TenantQueue[RequestT]]] = []
        self._entries = 0
        self._active = 0

    def __len__(self) -> int:
        return len(self.arrivals)

    def tenant(self, name: str, weight: float) -> TenantQueue[RequestT]:
        """Return a tenant's queue; make it if there is none."""
        tenant = self.tenants.get(name)
        if tenant is None:
            if len(self.tenants) >= _KEPT_TENANTS:
                self._forget_idle()
            tenant = self.tenants[name] = TenantQueue(name, weight)
        return tenant

    def reweigh(self, name: str, weight: float) -> None:
        """Give a tenant another weight from its next request on."""
        tenant = self.tenants.get(name)
        if tenant is not None:
            if tenant.waiting:
                self.waiting_weight += weight - tenant.weight
            tenant.weight = weight

    def charge(self, request: RequestT, tenant: TenantQueue[RequestT]) -> None:
        """Charge a tenant for a request that is dispatched without waiting."""
        start = max(self._virtual_time, tenant.tag)
        self._virtual_time = start
        request.cost = self._prices.expected(request)
        tenant.tag = start + request.cost / tenant.weight
        tenant.in_flight += 1

    def push(self, request: RequestT, tenant: TenantQueue[RequestT]) -> None:
        """Put a request at the end of its tenant's queue."""
        if not tenant.waiting:
            tenant.tag = max(tenant.tag, self._virtual_time)
            self._activate(tenant)
        tenant.waiting[request.number] = request
        tenant.in_time[request.number] = request
        self.arrivals[request.number] = request
        tenant.waiting_work += request.work
        self.waiting_work += request.work

    def pop(self, now_s: float) -> RequestT | None:
        """Take the next request out and charge its tenant for it; None: nothing waits."""
        heap = self._heap
        while heap:
            tag, entry, tenant = heap[0]
            if tenant.entry == entry:
                break
            heappop(heap)
        else:
            return None
        request = tenant.next(now_s)
        self._virtual_time = max(self._virtual_time, tag)
        request.cost = self._prices.expected(request)
        tenant.tag = tag + request.cost / tenant.weight
        tenant.in_flight += 1
        self._take_out(request, tenant)
        if tenant.waiting:
            self._entries += 1
            tenant.entry = self._entries
            heapreplace(heap, (tenant.tag, self._entries, tenant))
        else:
            heappop(heap)
        return request

    def remove(self, request: RequestT) -> None:
        """Take a waiting request out, without charging its tenant."""
        tenant = self._queue_of(request)
        self._take_out(request, tenant)
        if len(self._heap) > 2 * self._active + _STALE_ENTRIES:
            self._compact()

    def put_back(self, request: RequestT) -> None:
        """Undo a dispatch: the request waits again, as its tenant's first, and is not charged."""
        tenant = self._queue_of(request)
        tenant.in_flight -= 1
        self.settle(request, 0.0)
        self.push(request, tenant)
        tenant.waiting.move_to_end(request.number, last=False)
        tenant.in_time.move_to_end(request.number, last=False)
        self.arrivals.move_to_end(request.number, last=False)

    def ended(self, request: RequestT, cost: float) -> None:
        """Note that a dispatched request has ended, at that cost."""
        if cost != request.cost:
            self.settle(request, cost)
        self._queue_of(request).in_flight -= 1

    def settle(self, request: RequestT, real_cost: float) -> None:
        """Charge a dispatched request's real cost instead of its estimate."""
        tenant = self._queue_of(request)
        tenant.tag += (real_cost - request.cost) / tenant.weight
        if tenant.waiting:
            self._push_entry(tenant)

    def largest(self) -> TenantQueue[RequestT] | None:
        """Return the tenant with most waiting requests relative to its weight, in O(tenants); None: nothing waits."""
        waiting = [tenant for tenant in self.tenants.values() if tenant.waiting]
        return max(waiting, key=lambda tenant: (len(tenant.waiting) / tenant.weight, tenant.name)) if waiting else None

    def work_ahead(self, tenant: TenantQueue[RequestT]) -> float:
        """Return the work of this class that is served before a request which joins `tenant` now, about.

        It is the tenant's own waiting work divided by its share of the weights, because the others are served in
        between; but at most the waiting work of all. The tenant's late requests let it pass.
        """
        weight = self.waiting_weight if tenant.waiting else self.waiting_weight + tenant.weight
        return min(self.waiting_work, (tenant.waiting_work - tenant.late_work) * weight / tenant.weight)

    def _take_out(self, request: RequestT, tenant: TenantQueue[RequestT]) -> None:
        del tenant.waiting[request.number]
        if tenant.in_time.pop(request.number, None) is None:
            tenant.late_work -= request.work
        del self.arrivals[request.number]
        if tenant.waiting:
            tenant.waiting_work -= request.work
            self.waiting_work -= request.work
        else:
            # Sums of floats drift; of an empty queue the true sum is known.
            self.waiting_work = self.waiting_work - tenant.waiting_work if self.arrivals else 0.0
            self.waiting_weight = self.waiting_weight - tenant.weight if self.arrivals else 0.0
            tenant.waiting_work = tenant.late_work = 0.0
            tenant.entry = _NO_ENTRY
            self._active -= 1

    def _activate(self, tenant: TenantQueue[RequestT]) -> None:
        self._active += 1
        self.waiting_weight += tenant.weight
        self._push_entry(tenant)

    def _push_entry(self, tenant: TenantQueue[RequestT]) -> None:
        self._entries += 1
        tenant.entry = self._entries
        heappush(self._heap, (tenant.tag, self._entries, tenant))
        if len(self._heap) > 2 * self._active + _STALE_ENTRIES:
            self._compact()

    def _compact(self) -> None:
        self._heap = [item for item in self._heap if item[2].entry == item[1]]
        heapify(self._heap)

    def _forget_idle(self) -> None:
        # A tenant with nothing waiting or in flight, whose tag is not ahead, is treated like a new one.
        for tenant in self._idle():
            del self.tenants[tenant.name]

    def _idle(self) -> Iterator[TenantQueue[RequestT]]:
        for tenant in list(self.tenants.values()):
            if not tenant.waiting and not tenant.in_flight and tenant.tag <= self._virtual_time:
                yield tenant

    def _queue_of(self, request: RequestT) -> TenantQueue[RequestT]:
        tenant = self.tenants.get(request.tenant)
        if tenant is None:
            raise ValueError(f"request {request.number} of {request.tenant} was never queued or charged here")
        return tenant

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        waiting = [request for tenant in self.tenants.values() for request in tenant.waiting.values()]
        if {request.number for request in waiting} != set(self.arrivals) or len(waiting) != len(self.arrivals):
            raise AssertionError("the requests by tenant and those by arrival differ")
        valid = {item[2].name: item[0] for item in self._heap if item[2].entry == item[1]}
        for tenant in self.tenants.values():
            if (valid.get(tenant.name) is not None) != bool(tenant.waiting):
                raise AssertionError(f"{tenant.name}: waits without a heap entry, or the reverse")
            if tenant.waiting and valid[tenant.name] != tenant.tag:
                raise AssertionError(
                    f"{tenant.name}: the heap has the tag {valid[tenant.name]}, the tenant {tenant.tag}"
                )
            tenant.check_integrity()
        if not _close(self.waiting_work, sum(request.work for request in waiting)):
            raise AssertionError(f"the class's waiting work is {self.waiting_work}")
        active = [tenant for tenant in self.tenants.values() if tenant.waiting]
        if len(active) != self._active or not _close(self.waiting_weight, sum(tenant.weight for tenant in active)):
            raise AssertionError("the active tenants are miscounted")
        if len(self._heap) > 2 * self._active + _STALE_ENTRIES:
            raise AssertionError("stale heap entries pile up")


def _close(left: float, right: float) -> bool:
    return abs(left - right) <= 1e-6 * max(1.0, abs(left), abs(right))
