"""Flow control of one model on the gateway's own event loop."""

import asyncio

import uvloop

from router.flow_control.limits import AdmissionLimits, WaitingRoom
from router.flow_control.queued_request import QueuedRequest
from router.flow_control.rate_limits import RateLimits
from router.flow_control.verdict import Reject
from router.http.model_flow import ModelFlow, Waiter
from router.replicas.endpoint import Endpoint
from router.replicas.snapshot import ReplicaSnapshot


class Request:
    """A request that notes when it may go."""

    def __init__(self) -> None:
        self.went = asyncio.Event()

    def dispatch(self) -> None:
        """Note it."""
        self.went.set()

    def refused(self, verdict: Reject) -> None:
        """Fail."""
        raise AssertionError(verdict)

    def failed_inside(self) -> None:
        """Fail."""
        raise AssertionError("the gateway failed")


async def wait_for_an_opening(opens_in_s: float) -> None:
    """Offer two requests while the only replica opens in so long; both must go."""
    loop = asyncio.get_running_loop()
    flow = ModelFlow(
        "m", AdmissionLimits(), WaitingRoom(), RateLimits({}, 0.0), now_s=loop.time, on_dispatched=lambda *_: None
    )
    flow.refresh(["r"], [ReplicaSnapshot(Endpoint("r", "m", "127.0.0.1", 1))])
    slots = flow.admission.slots
    slots.take("r", slots.replicas["r"].depth.depth_s + opens_in_s, loop.time())
    requests = [Request() for _ in range(2)]
    for request in requests:
        claim: QueuedRequest[Waiter] = QueuedRequest(request, "ann", 1.0)
        flow.offer(claim)
    async with asyncio.timeout(5):
        for request in requests:
            await request.went.wait()


def test_requests_that_wait_for_an_opening_go_whenever_it_comes() -> None:
    """Also where it is so near that uvloop makes no timer of it: its handle then says no time."""
    for opens_in_s in (0.0002, 0.0004, 0.003, 0.02):
        for _ in range(20):
            uvloop.run(wait_for_an_opening(opens_in_s))
