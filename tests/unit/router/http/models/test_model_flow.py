"""One model's dispatcher on the gateway's own event loop."""

import asyncio
from random import Random

import uvloop

from router.dispatch.dispatcher import Dispatcher
from router.dispatch.ticket import Ticket
from router.flow_control.queued_request import RequestState
from router.http.models.model_flow import ModelFlow
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.request import RoutingRequest

STEP_S = 1.0
"""Seconds that one step of the engine prefills: it may have one step ahead of it before it has no room."""
TOKENS_PER_S = 1_000_000


class Waiter:
    """A request that notes when it may go."""

    def __init__(self) -> None:
        self.went = asyncio.Event()

    def dispatched(self) -> None:
        """Note it."""
        self.went.set()

    def failed_inside(self) -> None:
        """Fail."""
        raise AssertionError("the gateway failed")


def full_for(seconds: float) -> LoadReport:
    """A report of a replica that has room in `seconds`."""
    waiting_tokens = int((STEP_S + seconds) * TOKENS_PER_S)
    step_tokens = int(STEP_S * TOKENS_PER_S)
    return LoadReport(1, 0, 0, waiting_tokens, 0.0, 0, TOKENS_PER_S, 0.0, step_tokens=step_tokens)


async def wait_for_an_opening(opens_in_s: float) -> list[Ticket]:
    """Offer two requests while the only replica has no room for `opens_in_s`; return their tickets when both went."""
    loop = asyncio.get_running_loop()
    dispatcher = Dispatcher("m", "round_robin", rng=Random(0))
    flow = ModelFlow(dispatcher, now_s=loop.time, on_dispatched=lambda *_: None, on_held=lambda: None)
    dispatcher.set_replicas([Endpoint("r", "m", "127.0.0.1", 1)], loop.time())
    requests = [RoutingRequest(f"{n}", "m", "/v1/completions", stream=True, body=b"{}") for n in range(2)]
    waiters = [Waiter() for _ in requests]
    flow.report("r", full_for(opens_in_s))
    tickets = [dispatcher.offer(request, "ann", loop.time()) for request in requests]
    for ticket, waiter in zip(tickets, waiters, strict=True):
        flow.offered(ticket, waiter)
    async with asyncio.timeout(5):
        for waiter in waiters:
            await waiter.went.wait()
    return tickets


def test_requests_that_wait_for_an_opening_go_whenever_it_comes() -> None:
    """Also where it is so near that uvloop makes no timer of it: its handle then has no time of its own."""
    for opens_in_s in (0.0002, 0.0004, 0.003, 0.02):
        for _ in range(20):
            for ticket in uvloop.run(wait_for_an_opening(opens_in_s)):
                assert ticket.state is RequestState.DISPATCHED
                assert ticket.refusal is None
                assert ticket.attempt is not None


def test_one_request_that_fails_inside_the_gateway_does_not_hold_up_those_behind_it() -> None:
    """Where one of those that waited cannot be sent by a mistake of the gateway, it alone is answered with an error."""

    class Broken(Waiter):
        def __init__(self) -> None:
            super().__init__()
            self.failed = False

        def dispatched(self) -> None:
            raise ValueError("a mistake")

        def failed_inside(self) -> None:
            self.failed = True

    async def run() -> bool:
        loop = asyncio.get_running_loop()
        dispatcher = Dispatcher("m", "round_robin", rng=Random(0))
        held = asyncio.Event()
        flow = ModelFlow(dispatcher, now_s=loop.time, on_dispatched=lambda *_: None, on_held=held.set)
        broken, behind = Broken(), Waiter()
        for number, waiter in enumerate((broken, behind)):
            request = RoutingRequest(f"{number}", "m", "/v1/completions", stream=True, body=b"{}")
            flow.offered(dispatcher.offer(request, "ann", loop.time()), waiter)
        assert held.is_set()
        dispatcher.set_replicas([Endpoint("r", "m", "127.0.0.1", 1)], loop.time())
        flow.room_opened()
        async with asyncio.timeout(5):
            await behind.went.wait()
        return broken.failed

    assert uvloop.run(run())
