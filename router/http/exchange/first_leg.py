"""The first leg of a divided request: a replica computes the prompt, before the one that answers is asked."""

import asyncio
import time
from http import HTTPStatus
from typing import Final

import msgspec
import structlog

from router.dispatch.attempt import PrefillLeg
from router.dispatch.ticket import Fault, Ticket
from router.estimator.expectation import Usage
from router.http.api.answers.computed_prompt import computed_in
from router.http.api.divided_body import first_leg_body, second_leg_body
from router.http.api.error_status import FAULTS
from router.http.data_plane.data_plane import DataPlane
from router.http.data_plane.page_request import PageRequest
from router.http.data_plane.replica_route import ReplicaRoute
from router.http.models.model_flow import ModelFlow, Waiter
from router.http.wire.request.incoming import IncomingRequest
from router.http.wire.upstream.retry_after import retry_after_s
from router.http.wire.upstream.upstream import UpstreamConnection

MAX_ANSWER_BYTES: Final = 4 << 20
"""Size above which a first leg's answer is not read: it has one token, and the numbers of the prompt's blocks."""

_log: Final = structlog.get_logger("rackserve.gateway")


class FirstLegError(Exception):
    """A replica did not compute a prompt.

    Attributes:
        fault: why; None: the request is one that cannot be divided.
        retry_after_s: for how long it asks to be left alone; None: it does not say.
    """

    def __init__(self, fault: Fault | None, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.fault = fault
        self.retry_after_s = retry_after_s


class FirstLeg:
    """Has a request's prompt computed by the prefill replicas that the dispatcher picks, one after the other.

    Args:
        plane: the gateway's shared state.
        flow: the model's dispatcher on the event loop.
        ticket: the request's ticket.
        incoming: the request as it came; its id and headers go with both legs.
    """

    def __init__(self, plane: DataPlane, flow: ModelFlow, ticket: Ticket, incoming: IncomingRequest) -> None:
        self._plane = plane
        self._dispatcher = flow.dispatcher
        self._ticket = ticket
        self._incoming = incoming
        self._request_id = ticket.request.request_id.encode()
        self._params: msgspec.Raw | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, body: bytes, waiter: Waiter) -> None:
        """Have the prompt computed, then call `dispatched`: whether it was is for the dispatcher's ticket to say.

        Args:
            body: the request's body.
            waiter: the request; nothing of it is called once the leg is cancelled.
        """
        self._task = asyncio.get_running_loop().create_task(self._run(body, waiter))
        self._plane.tasks.add(self._task)
        self._task.add_done_callback(self._plane.tasks.discard)

    def cancel(self) -> None:
        """Give up: the replica's connection is closed, so that it stops and frees the blocks."""
        if self._task is not None:
            self._task.cancel()

    def body_of_answer(self, body: bytes) -> bytes:
        """Return the body for the replica that answers: with where the blocks are, if it is to fetch them."""
        attempt = self._ticket.attempt
        is_fetched = attempt is not None and attempt.expectation.is_fetched
        return second_leg_body(body, self._params) if is_fetched and self._params is not None else body

    async def _run(self, body: bytes, waiter: Waiter) -> None:
        try:
            await self._compute(body)
            self._task = None
            waiter.dispatched()
        except Exception:  # noqa: BLE001 - a defect here must not let the client wait forever
            _log.exception("request failed inside the gateway", model=self._dispatcher.model)
            self._task = None
            waiter.failed_inside()

    async def _compute(self, body: bytes) -> None:
        now_s = self._plane.now_s
        asked = first_leg_body(self._ticket.request.path, body)
        while (leg := self._ticket.prefill) is not None and leg.done_s is None:
            if asked is None:
                self._dispatcher.prefill_failed(self._ticket, None, now_s())
                continue
            try:
                self._params, usage = await self._computed_by(leg, asked)
            except FirstLegError as error:
                self._failed(leg, error)
            else:
                self._plane.meters.model(self._ticket.request.model).handovers += 1
                self._dispatcher.prefill_done(self._ticket, usage, now_s())

    def _failed(self, leg: PrefillLeg, error: FirstLegError) -> None:
        fault, replica = error.fault, leg.replica
        if fault is not None:
            self._plane.meters.model(self._ticket.request.model).retries[fault] += 1
            if replica.accepting:  # log once, not for each request there
                _log.warning("replica did not compute a prompt", replica=replica.replica_id, reason=str(error))
        self._dispatcher.prefill_failed(self._ticket, fault, self._plane.now_s(), error.retry_after_s)

    async def _computed_by(self, leg: PrefillLeg, body: bytes) -> tuple[msgspec.Raw, Usage]:
        """Have a replica compute the prompt.

        Returns:
            Where its blocks are, and what it took.

        Raises:
            FirstLegError: it did not.
        """
        route = self._plane.route_to(leg.replica)
        try:
            async with asyncio.timeout(max(0.0, leg.due_s - self._plane.now_s())):
                upstream = route.pool.take()
                if upstream is not None:
                    try:
                        page, answer = await self._ask(upstream, route, body)
                    except ConnectionResetError:
                        if upstream.received:
                            raise
                        upstream = None  # it closed an idle connection
                if upstream is None:
                    page, answer = await self._ask(await route.pool.connect(), route, body)
        except TimeoutError as error:
            raise FirstLegError(Fault.SLOW, "took far longer than expected") from error
        except (OSError, ValueError) as error:
            raise FirstLegError(Fault.FAILED, str(error)) from error
        head = page.head
        if head is None or head.status != HTTPStatus.OK:
            status = head.status if head is not None else 0
            fault = FAULTS.get(status)
            wait_s = retry_after_s(head.lines, time.time()) if head is not None and fault is Fault.BUSY else None
            raise FirstLegError(fault, f"answered {status}", wait_s)
        computed = computed_in(answer)
        if computed is None:
            raise FirstLegError(None, "kept no blocks")
        return computed

    async def _ask(self, upstream: UpstreamConnection, route: ReplicaRoute, body: bytes) -> tuple[PageRequest, bytes]:
        page = PageRequest(MAX_ANSWER_BYTES)
        head = self._incoming.upstream_head(
            route.path_prefix, route.head_end, route.forwarded, self._request_id, len(body)
        )
        upstream.send(page, head, body)
        try:
            _, answer = await page.answer
        finally:
            if not page.is_over:
                upstream.abandon()
        return page, answer
