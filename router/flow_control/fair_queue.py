"""Weighted fair queueing between the tenants of one priority class.

Start-time fair queueing (Goyal, Vin, Cheng: "Start-time Fair Queuing", 1996): each tenant's queue has a tag, the
virtual time at which its next request starts; the smallest tag is served next and moves on by `work / weight`. The
class's virtual time is the tag last served, and a queue that was empty joins at it, so nobody saves up for later and
nobody pays for capacity that would have been idle. What a request really cost is settled when it ends, by moving its
tenant's tag: over time a tenant gets its share of real work however wrong the estimates are.
"""

from collections import OrderedDict
from collections.abc import Iterator
from heapq import heapify, heappop, heappush, heapreplace
from typing import Generic

from router.flow_control.queued_request import OwnerT, QueuedRequest

_STALE_ENTRIES = 64
_KEPT_FLOWS = 1024
_NO_ENTRY = -1


class TenantQueue(Generic[OwnerT]):
    """One tenant's requests within one class.

    Attributes:
        tenant: whose.
        weight: its share relative to the others'.
        tag: virtual time at which its next request starts, in work per unit of weight.
        waiting: its requests, first come first served.
        waiting_work: their work.
        in_flight: requests dispatched and not yet ended.
        entry: which heap entry of it is the valid one; -1: none.
    """

    __slots__ = ("entry", "in_flight", "tag", "tenant", "waiting", "waiting_work", "weight")

    def __init__(self, tenant: str, weight: float) -> None:
        self.tenant = tenant
        self.weight = weight
        self.tag = 0.0
        self.waiting: OrderedDict[QueuedRequest[OwnerT], None] = OrderedDict()
        self.waiting_work = 0.0
        self.in_flight = 0
        self.entry = _NO_ENTRY


class FairQueue(Generic[OwnerT]):
    """The waiting requests of one class. Every operation is O(log tenants) or O(1), amortised.

    Attributes:
        flows: by tenant.
        arrivals: all that wait, oldest first.
        waiting_work: their work.
        waiting_weight: the weights of the tenants that have requests waiting, summed.
    """

    def __init__(self) -> None:
        self.flows: dict[str, TenantQueue[OwnerT]] = {}
        self.arrivals: OrderedDict[QueuedRequest[OwnerT], None] = OrderedDict()
        self.waiting_work = 0.0
        self.waiting_weight = 0.0
        self._virtual_time = 0.0
        self._heap: list[tuple[float, int, TenantQueue[OwnerT]]] = []
        self._entries = 0
        self._active = 0

    def __len__(self) -> int:
        return len(self.arrivals)

    def flow(self, tenant: str, weight: float) -> TenantQueue[OwnerT]:
        """Return a tenant's flow, made if it has none."""
        flow = self.flows.get(tenant)
        if flow is None:
            if len(self.flows) >= _KEPT_FLOWS:
                self._forget_idle()
            flow = self.flows[tenant] = TenantQueue(tenant, weight)
        return flow

    def reweigh(self, tenant: str, weight: float) -> None:
        """Give a tenant another weight from its next request on."""
        flow = self.flows.get(tenant)
        if flow is not None:
            if flow.waiting:
                self.waiting_weight += weight - flow.weight
            flow.weight = weight

    def charge(self, claim: QueuedRequest[OwnerT], flow: TenantQueue[OwnerT]) -> None:
        """Account for a request that is dispatched without having waited."""
        start = max(self._virtual_time, flow.tag)
        self._virtual_time = start
        flow.tag = start + claim.work / flow.weight
        flow.in_flight += 1
        claim.flow = flow

    def push(self, claim: QueuedRequest[OwnerT], flow: TenantQueue[OwnerT]) -> None:
        """Put a request at the end of its tenant's queue."""
        claim.flow = flow
        if not flow.waiting:
            flow.tag = max(flow.tag, self._virtual_time)
            self._activate(flow)
        flow.waiting[claim] = None
        self.arrivals[claim] = None
        flow.waiting_work += claim.work
        self.waiting_work += claim.work

    def pop(self) -> QueuedRequest[OwnerT] | None:
        """Take the next request out and charge its tenant for it."""
        heap = self._heap
        while heap:
            tag, entry, flow = heap[0]
            if flow.entry == entry:
                break
            heappop(heap)
        else:
            return None
        claim = next(iter(flow.waiting))
        self._virtual_time = max(self._virtual_time, tag)
        flow.tag = tag + claim.work / flow.weight
        flow.in_flight += 1
        self._take_out(claim, flow)
        if flow.waiting:
            self._entries += 1
            flow.entry = self._entries
            heapreplace(heap, (flow.tag, self._entries, flow))
        else:
            heappop(heap)
        return claim

    def remove(self, claim: QueuedRequest[OwnerT]) -> None:
        """Take a waiting request out uncharged."""
        flow = self._flow_of(claim)
        self._take_out(claim, flow)
        if len(self._heap) > 2 * self._active + _STALE_ENTRIES:
            self._compact()

    def put_back(self, claim: QueuedRequest[OwnerT]) -> None:
        """Undo a dispatch: the request waits again, as its tenant's first, and is not charged."""
        flow = self._flow_of(claim)
        flow.in_flight -= 1
        self.settle(claim, 0.0)
        self.push(claim, flow)
        flow.waiting.move_to_end(claim, last=False)
        self.arrivals.move_to_end(claim, last=False)

    def settle(self, claim: QueuedRequest[OwnerT], real_work: float) -> None:
        """Charge a dispatched request's real work instead of its estimate."""
        flow = self._flow_of(claim)
        flow.tag += (real_work - claim.work) / flow.weight
        if flow.waiting:
            self._push_entry(flow)

    def largest(self) -> TenantQueue[OwnerT] | None:
        """Return the flow with most requests waiting for its weight; O(tenants). None: nothing waits."""
        waiting = [flow for flow in self.flows.values() if flow.waiting]
        return max(waiting, key=lambda flow: (len(flow.waiting) / flow.weight, flow.tenant)) if waiting else None

    def work_ahead(self, flow: TenantQueue[OwnerT]) -> float:
        """Return the work of this class that is served before a request that joins `flow` now, about.

        While this flow works off what it has, another of the same weight gets as much, but no more than it has: the
        sum over all is bounded by what all have, and by this flow's own over its share.
        """
        weight = self.waiting_weight if flow.waiting else self.waiting_weight + flow.weight
        return min(self.waiting_work, flow.waiting_work * weight / flow.weight)

    def _take_out(self, claim: QueuedRequest[OwnerT], flow: TenantQueue[OwnerT]) -> None:
        del flow.waiting[claim]
        del self.arrivals[claim]
        if flow.waiting:
            flow.waiting_work -= claim.work
            self.waiting_work -= claim.work
        else:
            # Sums of floats drift; an empty queue is the moment to start anew from the truth.
            self.waiting_work = self.waiting_work - flow.waiting_work if self.arrivals else 0.0
            self.waiting_weight = self.waiting_weight - flow.weight if self.arrivals else 0.0
            flow.waiting_work = 0.0
            flow.entry = _NO_ENTRY
            self._active -= 1

    def _activate(self, flow: TenantQueue[OwnerT]) -> None:
        self._active += 1
        self.waiting_weight += flow.weight
        self._push_entry(flow)

    def _push_entry(self, flow: TenantQueue[OwnerT]) -> None:
        self._entries += 1
        flow.entry = self._entries
        heappush(self._heap, (flow.tag, self._entries, flow))
        if len(self._heap) > 2 * self._active + _STALE_ENTRIES:
            self._compact()

    def _compact(self) -> None:
        self._heap = [item for item in self._heap if item[2].entry == item[1]]
        heapify(self._heap)

    def _forget_idle(self) -> None:
        # A flow that is neither served nor waiting and whose tag is past is what a new one would be.
        for flow in self._idle():
            del self.flows[flow.tenant]

    def _idle(self) -> Iterator[TenantQueue[OwnerT]]:
        for flow in list(self.flows.values()):
            if not flow.waiting and not flow.in_flight and flow.tag <= self._virtual_time:
                yield flow

    @staticmethod
    def _flow_of(claim: QueuedRequest[OwnerT]) -> TenantQueue[OwnerT]:
        flow = claim.flow
        if flow is None:
            raise ValueError("the request was never queued or charged here")
        return flow

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        waiting = [claim for flow in self.flows.values() for claim in flow.waiting]
        if set(waiting) != set(self.arrivals) or len(waiting) != len(self.arrivals):
            raise AssertionError("the requests by tenant and those by arrival differ")
        valid = {item[2].tenant: item[0] for item in self._heap if item[2].entry == item[1]}
        for flow in self.flows.values():
            if (valid.get(flow.tenant) is not None) != bool(flow.waiting):
                raise AssertionError(f"{flow.tenant}: waits without a heap entry, or the reverse")
            if flow.waiting and valid[flow.tenant] != flow.tag:
                raise AssertionError(f"{flow.tenant}: the heap has the tag {valid[flow.tenant]}, the flow {flow.tag}")
            if not _close(flow.waiting_work, sum(claim.work for claim in flow.waiting)):
                raise AssertionError(f"{flow.tenant}: waiting work is {flow.waiting_work}")
            if flow.in_flight < 0:
                raise AssertionError(f"{flow.tenant}: {flow.in_flight} in flight")
        if not _close(self.waiting_work, sum(claim.work for claim in waiting)):
            raise AssertionError(f"the class's waiting work is {self.waiting_work}")
        active = [flow for flow in self.flows.values() if flow.waiting]
        if len(active) != self._active or not _close(self.waiting_weight, sum(flow.weight for flow in active)):
            raise AssertionError("the active tenants are miscounted")
        if len(self._heap) > 2 * self._active + _STALE_ENTRIES:
            raise AssertionError("stale heap entries pile up")


def _close(left: float, right: float) -> bool:
    return abs(left - right) <= 1e-6 * max(1.0, abs(left), abs(right))
