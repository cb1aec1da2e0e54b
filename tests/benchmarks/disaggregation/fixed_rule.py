"""The rules that ours is compared with: prompts are computed apart above a fixed number of uncached tokens."""

from collections.abc import Iterable
from dataclasses import replace
from math import inf
from random import Random
from typing import Final

from cluster.spec.role import Role
from deployments.simulator.disaggregation.pools import MODEL
from router.dispatch.attempt import PrefillLeg
from router.dispatch.dispatcher import Dispatcher
from router.dispatch.ticket import Ticket
from router.estimator.expectation import Usage
from router.flow_control.limits import AdmissionLimits
from router.outcome import Outcome
from router.prefix_cache.exact import ResidencyDelta
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.request import RoutingRequest

AT_ONCE: Final = AdmissionLimits(late_binding=False)
ALWAYS: Final = -1
"""Number of uncached tokens above which all requests are."""


class FixedRule:
    """Sends a prompt to a prefill replica if more of its tokens than a number are cached on no decode replica.

    Prompts go where the live policy expects the first token soonest, of the prefill or of the decode replicas. A prompt
    that was computed apart is fetched by the decode replica with the fewest requests, chosen when it is computed.

    Args:
        apart_above: that number of tokens; `ALWAYS`: always.
        seed: of the generator that breaks ties.

    Attributes:
        refused: requests that will not be served: none, since each goes to a replica at once.
    """

    def __init__(self, apart_above: int, seed: int) -> None:
        self.refused: list[Ticket] = []
        self._apart_above = apart_above
        self._prefill = Dispatcher(MODEL, "expected_ttft", rng=_rng(seed), limits=AT_ONCE)
        self._decode = Dispatcher(MODEL, "expected_ttft", rng=_rng(seed), limits=AT_ONCE)
        self._decodes: set[str] = set()
        self._second: dict[str, Ticket] = {}

    @property
    def someone_waits(self) -> bool:
        """Whether at least one request waits: never."""
        return False

    def set_replicas(self, endpoints: Iterable[Endpoint], now_s: float) -> None:
        """Set which replicas exist."""
        rows = list(endpoints)
        decode = [replace(row, transfer=None) for row in rows if row.role.decodes]
        self._decodes = {row.replica_id for row in decode}
        self._decode.set_replicas(decode, now_s)
        # To this rule's two routers all are ordinary replicas.
        prefill = [replace(row, role=Role.BOTH, transfer=None) for row in rows if not row.role.decodes]
        self._prefill.set_replicas(prefill, now_s)

    def offer(self, request: RoutingRequest, tenant: str, now_s: float) -> Ticket:
        """Take a new request: it goes to a replica at once."""
        estimator = self._decode.estimator
        request.now_s, request.match = now_s, estimator.match(request.chain)
        if estimator.uncached_tokens(request) <= self._apart_above:
            return self._decode.offer(request, tenant, now_s)
        ticket = self._prefill.offer(request, tenant, now_s)
        first = ticket.attempt
        if first is not None:
            ticket.prefill = PrefillLeg(
                first.replica, first.decision, first.expectation, first.record, first.replica, inf
            )
        return ticket

    def next(self, now_s: float) -> Ticket | None:
        """Return None: no request waits."""
        del now_s
        return None

    def next_opening_s(self) -> float | None:
        """Return None: no request waits."""
        return None

    def prefill_done(self, ticket: Ticket, usage: Usage, now_s: float) -> None:
        """Choose the replica that fetches the prompt's blocks and generates the answer."""
        ticket.prefill = None
        self._prefill.first_token(ticket, now_s)
        self._prefill.finish(ticket, Outcome.OK, usage, now_s, is_whole=True)
        replicas = self._decode.fleet.replicas
        chosen = min(self._decodes, key=lambda name: (replicas[name].load, name))
        first = ticket.request
        request = RoutingRequest(first.request_id, MODEL, first.path, stream=True, body=b"", replica_id=chosen)
        second = self._decode.offer(request, ticket.tenant, now_s)
        self._second[first.request_id] = second
        ticket.attempt = second.attempt

    def first_token(self, ticket: Ticket, now_s: float) -> None:
        """Note that an answer's body has begun."""
        self._decode.first_token(self._second.get(ticket.request.request_id, ticket), now_s)

    def finish(self, ticket: Ticket, outcome: Outcome, usage: Usage, now_s: float, *, is_whole: bool = False) -> None:
        """End a request."""
        self._decode.finish(
            self._second.pop(ticket.request.request_id, ticket), outcome, usage, now_s, is_whole=is_whole
        )

    def report(self, replica_id: str, report: LoadReport | None, now_s: float) -> None:
        """Take a replica's load report."""
        self._of(replica_id).report(replica_id, report, now_s)

    def apply_residency(self, replica_id: str, delta: ResidencyDelta) -> bool:
        """Apply a replica's delta of its cache contents."""
        return self._of(replica_id).apply_residency(replica_id, delta)

    def tick(self, now_s: float) -> None:
        """Do what is due."""
        self._prefill.tick(now_s)
        self._decode.tick(now_s)

    def _of(self, replica_id: str) -> Dispatcher:
        return self._decode if replica_id in self._decodes else self._prefill


def _rng(seed: int) -> Random:
    return Random(seed)
