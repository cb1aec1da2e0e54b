"""A request about a stored response: it goes to the replica that holds the response, and nowhere else."""

import asyncio
from collections.abc import Sequence
from math import inf

from router.dispatch.replica import Replica
from router.estimator.expectation import Usage
from router.flow_control.priority import Priority
from router.http.access_control.auth import ANONYMOUS, Tenant
from router.http.api.response_id import CREATE_RESPONSE, is_of_tenant
from router.http.connection.client import Client
from router.http.data_plane.answers import Answers
from router.http.data_plane.data_plane import DataPlane
from router.http.data_plane.response_owners import ResponseOwner
from router.http.exchange.exchange import Exchange
from router.http.exchange.response_lookup import ResponseLookup
from router.http.models.model_flow import ModelFlow
from router.http.wire.request.incoming import IncomingRequest
from router.outcome import Outcome
from router.request import RoutingRequest


class PinnedExchange(Exchange):
    """One request about a stored response, and its answer.

    The response's replica is remembered, or looked up: then `start` returns before the request is offered.

    Args:
        plane: the gateway's shared state.
        flows: the models whose replicas may hold the response, at least one; the asked model alone where the request
            names one.
        client: the client's connection.
        incoming: the request as it came.
        request: the same request, as routing sees it; its model and replica are set once they are known.
        tenant: the tenant it belongs to.
        response_id: the response that it refers to, as a text that is safe in a path.
        lookup: finds responses that are not remembered.
        priority: its class.
        wait_s: seconds it may wait for room; infinite: the model's own bounds apply.
    """

    __slots__ = ("_flows", "_lookup", "_response_id", "_search")

    def __init__(  # noqa: PLR0913, PLR0917 - what a request is; made in `front` alone
        self,
        plane: DataPlane,
        flows: Sequence[ModelFlow],
        client: Client,
        incoming: IncomingRequest,
        request: RoutingRequest,
        tenant: Tenant,
        response_id: str,
        lookup: ResponseLookup,
        priority: Priority = Priority.NORMAL,
        wait_s: float = inf,
    ) -> None:
        super().__init__(plane, flows[0], client, incoming, request, tenant, priority, wait_s)
        self._flows = flows
        self._response_id = response_id
        self._lookup = lookup
        self._search: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Offer the request to the dispatcher of the model that made the response, once its replica is known."""
        owner = self._plane.response_owners.find(self._response_id)
        if owner is not None:
            self._send_to(owner if owner.tenant == self._tenant.name else None)
            return
        if self._tenant is not ANONYMOUS and not is_of_tenant(self._response_id, self._tenant.name):
            self._send_to(None)  # whose it is cannot be told, so it must not be shown
            return
        held_by = [(flow, replica) for flow in self._flows for replica in flow.dispatcher.fleet.staying()]
        if len(held_by) == 1:
            flow, replica = held_by[0]
            self._send_to(ResponseOwner(flow.dispatcher.model, replica.replica_id, self._tenant.name))
            return
        self._search = asyncio.get_running_loop().create_task(self._find(held_by))
        self._plane.tasks.add(self._search)
        self._search.add_done_callback(self._plane.tasks.discard)

    async def _find(self, held_by: Sequence[tuple[ModelFlow, Replica]]) -> None:
        by_id = {replica.replica_id: (flow, replica) for flow, replica in held_by}
        replicas = [replica for _, replica in by_id.values()]
        found = await self._lookup.find(self._response_id, replicas)
        self._search = None
        if found is None:
            self._send_to(None)
            return
        flow, _ = by_id[found.replica_id]
        owner = ResponseOwner(flow.dispatcher.model, found.replica_id, self._tenant.name)
        self._plane.response_owners.note(self._response_id, owner)
        self._send_to(owner)

    def _send_to(self, owner: ResponseOwner | None) -> None:
        """Offer the request to the response's replica; refuse it if there is none, or none that it may go to."""
        if owner is None:
            self._refuse_unknown(f"there is no response {self._response_id!r}")
            return
        flow = next((flow for flow in self._flows if owner.replica_id in flow.dispatcher.fleet.replicas), None)
        if flow is None:
            self._refuse_unknown(
                f"the response {self._response_id!r} cannot be reached: the replica that stored it is gone, "
                "or is another model's"
            )
            return
        self._flow = flow
        self._request.model = flow.dispatcher.model
        self._request.replica_id = owner.replica_id
        super().start()

    def _refuse_unknown(self, message: str) -> None:
        param = "previous_response_id" if self._request.path == CREATE_RESPONSE else "response_id"
        answers = Answers(self._plane)
        answers.refuse(self._client, self._incoming, Outcome.NOT_FOUND, message, tenant=self._tenant.name, param=param)
        self._client.exchange_ended(keep_alive=self._incoming.keep_alive and not self._plane.draining)

    def upstream_done(self) -> None:
        """Complete the client's answer; one about an earlier response costs nothing and teaches nothing."""
        if self._request.path == CREATE_RESPONSE:
            super().upstream_done()
            return
        head = self.answer.head
        if self._ended or head is None:
            return
        self.answer.complete()
        is_ok = not head.is_error
        self._end(Outcome.OK if is_ok else Outcome.UPSTREAM_STATUS, Usage(0, 0, 0))
        self._client.exchange_ended(keep_alive=self.answer.keep_alive)

    def client_left(self) -> None:
        """End the request, or the search for its replica, as its client is gone."""
        if self._search is not None:
            self._search.cancel()
            self._search = None
        super().client_left()
