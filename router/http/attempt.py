"""One request given to one replica: reserved, expected, and given back exactly once."""

from collections.abc import Container

from router.estimator.model_estimator import ModelEstimator, Ticket, Usage
from router.http.data_plane import DataPlane
from router.http.model_flow import ModelFlow
from router.outcome import Outcome
from router.request import RoutingRequest
from router.scheduling.interface import Decision


class Attempt:
    """One request on one replica, from the pick to its end there.

    Ends with `answered` or `given_up`; what comes after the first of them does nothing.

    Attributes:
        decision: what the policy chose and weighed.
    """

    __slots__ = ("_entry", "_flow", "_open", "_outlook", "_plane", "_request", "_ticket", "decision")

    def __init__(  # noqa: PLR0913, PLR0917 - what an attempt is made of; made in `begin` alone
        self,
        plane: DataPlane,
        flow: ModelFlow,
        request: RoutingRequest,
        decision: Decision,
        outlook: ModelEstimator | None,
        ticket: Ticket | None,
    ) -> None:
        self._plane = plane
        self._flow = flow
        self._request = request
        self._outlook = outlook
        self._ticket = ticket
        self._open = True
        self._entry = plane.journal.decided(
            request.request_id,
            request.model,
            decision,
            request.now_s,
            unit=decision.unit,
            matched_bytes=ticket.matched_bytes if ticket is not None else 0,
            prompt_bytes=request.chain.size_bytes,
        )
        self.decision = decision

    @classmethod
    def begin(
        cls, plane: DataPlane, flow: ModelFlow, request: RoutingRequest, tried: Container[str]
    ) -> "Attempt | None":
        """Pick a replica that is not in `tried` and reserve it; None where there is none."""
        request.now_s = plane.now_s()
        decision = plane.fleet.route(request, tried, flow.narrow)
        if decision is None:
            return None
        outlook = plane.outlooks.get(request.model)
        ticket = outlook.picked(request, decision.replica) if outlook is not None else None
        flow.sent(decision.replica, request, ticket)
        return cls(plane, flow, request, decision, outlook, ticket)

    @property
    def replica_id(self) -> str:
        """The replica's id."""
        return self.decision.replica.replica_id

    def explanation(self) -> bytes:
        """Return header lines that say which replica it is, by which policy, and how much it held of the prompt."""
        ticket = self._ticket
        matched_bytes, matched_tokens = (ticket.matched_bytes, ticket.matched_tokens) if ticket is not None else (0, 0)
        return (
            f"x-rackserve-replica: {self.replica_id}\r\nx-rackserve-policy: {self.decision.policy}\r\n"
            f"x-rackserve-matched-chars: {matched_bytes}\r\nx-rackserve-matched-tokens: {matched_tokens:.0f}\r\n"
        ).encode("latin-1")

    @property
    def is_watched(self) -> bool:
        """Somebody learns from how this attempt goes: its answer's usage is wanted."""
        return self._ticket is not None

    def first_bytes(self) -> None:
        """The answer's body has begun: the prompt is prefilled."""
        now_s = self._plane.now_s()
        self._entry.ttft_s = now_s - self._request.now_s
        if self._outlook is not None and self._ticket is not None:
            self._outlook.prefilled(self._ticket, now_s)

    def answered(self, usage: Usage, reply: bytes, *, streamed: bool) -> None:
        """The answer is complete.

        Args:
            usage: what it said of its tokens.
            reply: the piece the next turn will hold of it, or b"".
            streamed: its first byte came with its first token.
        """
        if not self._open:
            return
        self._open = False
        now_s = self._plane.now_s()
        self._plane.fleet.release(self.decision.replica)
        self._flow.given_back(self.decision.replica, now_s)
        self._plane.journal.ended(
            self._request.request_id,
            Outcome.OK,
            now_s,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
        )
        if self._outlook is None or self._ticket is None:
            return
        chain = self._ticket.chain
        answer = self._plane.hasher.extension(chain, reply) if reply and len(chain) else None
        self._outlook.finished(self._ticket, usage, now_s, streamed=streamed, answer=answer)

    def given_up(self, outcome: Outcome) -> None:
        """The attempt ended otherwise: the replica failed, or nobody waits any more."""
        if not self._open:
            return
        self._open = False
        now_s = self._plane.now_s()
        self._plane.fleet.release(self.decision.replica)
        self._flow.given_back(self.decision.replica, now_s)
        self._plane.journal.ended(self._request.request_id, outcome, now_s)
        if self._outlook is not None and self._ticket is not None:
            self._outlook.lost(self._ticket, now_s)
