"""The decision journal: which costs sent each of the last requests to its replica, and how the request ended."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from router.dispatch.replica import Replica
from router.outcome import Outcome
from router.scheduling.interface import Decision
from router.scheduling.prefill_pairs import PairRow, PrefillChoice

DEFAULT_REQUESTS: Final = 4096
"""Requests that a journal keeps."""
MAX_KEPT_ATTEMPTS: Final = 8
"""Decisions kept of one request: the last ones."""


@dataclass(frozen=True)
class Weighed:
    """One candidate of a decision.

    Attributes:
        replica_id: the replica's id.
        cost: its cost, in the policy's unit.
        terms: the terms that the cost is the sum of, by name; empty where it has no terms.
        prefill_id: id of the replica that would compute the prompt for it; "": it would do so itself.
    """

    replica_id: str
    cost: float
    terms: dict[str, float]
    prefill_id: str = ""


@final
class AttemptRecord:
    """One decision for a request. A request that was sent again has several.

    Attributes:
        at_s: when it was made, in the gateway's monotonic seconds.
        policy: the policy's name.
        unit: unit of the costs.
        picked: id of the replica that was picked.
        matched_bytes: bytes of the prompt that this replica was expected to hold.
        prompt_bytes: bytes of the whole prompt.
        weighed_count: number of candidates that were weighed.
        ttft_s: seconds from the decision to the answer's first bytes; None: none have come.
        prefilled_by: id of the replica that computes the prompt for the picked one; "": it does so itself.
    """

    __slots__ = (
        "_costs",
        "_replica_ids",
        "_rows",
        "_term_names",
        "_terms",
        "at_s",
        "matched_bytes",
        "picked",
        "policy",
        "prefilled_by",
        "prompt_bytes",
        "ttft_s",
        "unit",
        "weighed_count",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - its fields; positional for the hot path
        self,
        at_s: float,
        policy: str,
        unit: str,
        picked: str,
        matched_bytes: int,
        prompt_bytes: int,
        weighed_count: int,
        replica_ids: tuple[str, ...],
        costs: Sequence[float],
        term_names: Sequence[str],
        terms: Sequence[Sequence[float]],
        ttft_s: float | None = None,
    ) -> None:
        self.at_s = at_s
        self.policy = policy
        self.unit = unit
        self.picked = picked
        self.matched_bytes = matched_bytes
        self.prompt_bytes = prompt_bytes
        self.weighed_count = weighed_count
        self._replica_ids = replica_ids
        self._costs = costs
        self._term_names = term_names
        self._terms = terms
        self.ttft_s = ttft_s
        self.prefilled_by = ""
        self._rows: list[PairRow] | None = None

    def chosen(self, choice: PrefillChoice[Replica]) -> None:
        """Write down where the prompt is computed and where the answer is generated, with the ways weighed."""
        self.picked = choice.replica.replica_id
        self.prefilled_by = choice.prefiller.replica_id if choice.prefiller is not None else ""
        self._rows = choice.rows

    def candidates(self) -> list[Weighed]:
        """Return the candidates that were kept, at most `MAX_SHOWN` of `interface.py`, the cheapest first."""
        if self._rows is not None:
            return [
                Weighed(row.replica_id, row.cost, dict(zip(row.term_names, row.terms, strict=True)), row.prefill_id)
                for row in self._rows
            ]
        terms = self._terms or [()] * len(self._costs)
        rows = [
            Weighed(replica_id, cost, dict(zip(self._term_names, row, strict=True)))
            for replica_id, cost, row in zip(self._replica_ids, self._costs, terms, strict=True)
        ]
        return sorted(rows, key=lambda row: row.cost)


@final
class Entry:
    """What the journal knows of one request.

    Attributes:
        request_id: the id the client saw in `x-request-id`.
        attempts: its last decisions, at most `MAX_KEPT_ATTEMPTS`, in order.
        outcome: how its last attempt ended; None: it has not ended.
        total_s: seconds from the first decision kept to that end; None: it has not ended.
        prompt_tokens: prompt tokens, as the engine counted them; None: the answer did not say.
        cached_tokens: prompt tokens that the engine had cached; None: the answer did not say.
        completion_tokens: tokens generated; None: the answer did not say.
    """

    __slots__ = ("attempts", "cached_tokens", "completion_tokens", "outcome", "prompt_tokens", "request_id", "total_s")

    def __init__(  # noqa: PLR0913, PLR0917 - its fields; positional for the hot path
        self,
        request_id: str,
        attempts: list[AttemptRecord] | None = None,
        outcome: Outcome | None = None,
        total_s: float | None = None,
        prompt_tokens: int | None = None,
        cached_tokens: int | None = None,
        completion_tokens: int | None = None,
    ) -> None:
        self.request_id = request_id
        self.attempts = attempts if attempts is not None else []
        self.outcome = outcome
        self.total_s = total_s
        self.prompt_tokens = prompt_tokens
        self.cached_tokens = cached_tokens
        self.completion_tokens = completion_tokens

    @property
    def began_s(self) -> float:
        """When the first decision kept was made, in the gateway's monotonic seconds."""
        return self.attempts[0].at_s


class Journal:
    """The decisions for the last requests, by request id. When it is full, the oldest request is dropped.

    Args:
        max_requests: number of requests kept, 1 or more.
    """

    def __init__(self, max_requests: int = DEFAULT_REQUESTS) -> None:
        if max_requests < 1:
            raise ValueError(f"a journal of {max_requests} requests keeps none; 1 or more does")
        self._max_requests = max_requests
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._last_candidates: Sequence[Replica] = ()
        self._last_ids: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self._entries)

    def decided(
        self,
        request_id: str,
        decision: Decision[Replica],
        now_s: float,
        *,
        matched_bytes: int = 0,
        prompt_bytes: int = 0,
    ) -> AttemptRecord:
        """Write down a decision, and return its record; a later decision for the same request is a further attempt.

        Args:
            request_id: the request's id.
            decision: the policy's choice, with all costs.
            now_s: when it was made, monotonic seconds.
            matched_bytes: bytes of the prompt that the picked replica is expected to hold.
            prompt_bytes: bytes of the whole prompt.
        """
        entry = self._entries.get(request_id)
        if entry is None:
            entry = self._entries[request_id] = Entry(request_id)
            if len(self._entries) > self._max_requests:
                self._entries.popitem(last=False)
        attempt = self._attempt(decision, now_s, matched_bytes, prompt_bytes)
        if len(entry.attempts) == MAX_KEPT_ATTEMPTS:
            del entry.attempts[0]
        entry.attempts.append(attempt)
        return attempt

    def _attempt(
        self, decision: Decision[Replica], now_s: float, matched_bytes: int, prompt_bytes: int
    ) -> AttemptRecord:
        candidates, costs, terms = decision.candidates, decision.costs, decision.terms
        shown = decision.shown
        if shown is not None:
            ids = tuple([candidates[at].replica_id for at in shown])
            costs = [costs[at] for at in shown]
        else:
            if candidates is not self._last_candidates:  # nearly always the same list: all of the model's replicas
                self._last_ids = tuple([replica.replica_id for replica in candidates])
                self._last_candidates = candidates
            ids = self._last_ids
        return AttemptRecord(
            now_s,
            decision.policy,
            decision.unit,
            decision.replica.replica_id,
            matched_bytes,
            prompt_bytes,
            len(candidates),
            ids,
            costs,
            decision.term_names if terms else (),
            terms,
        )

    def ended(  # noqa: PLR0913 - what there is to say of an end
        self,
        request_id: str,
        outcome: Outcome,
        now_s: float,
        *,
        prompt_tokens: int | None = None,
        cached_tokens: int | None = None,
        completion_tokens: int | None = None,
    ) -> None:
        """Write down how a request ended. Does nothing for a request that is no longer kept."""
        entry = self._entries.get(request_id)
        if entry is None:
            return
        entry.outcome = outcome
        entry.total_s = now_s - entry.began_s
        entry.prompt_tokens = prompt_tokens
        entry.cached_tokens = cached_tokens
        entry.completion_tokens = completion_tokens

    def find(self, request_id: str) -> Entry | None:
        """Return what is known of a request; None: it is not kept."""
        return self._entries.get(request_id)

    def latest(self, count: int) -> list[Entry]:
        """Return the last `count` requests, the latest first."""
        ids = list(self._entries)[-count:] if count > 0 else []
        return [self._entries[request_id] for request_id in reversed(ids)]


def explanation(entry: Entry, model: str) -> dict[str, Any]:
    """Return all that is known of a request as plain JSON values, for `rackserve why`."""
    return {
        "request_id": entry.request_id,
        "model": model,
        "outcome": entry.outcome,
        "total_s": entry.total_s,
        "prompt_tokens": entry.prompt_tokens,
        "cached_tokens": entry.cached_tokens,
        "completion_tokens": entry.completion_tokens,
        "attempts": [
            {
                "policy": attempt.policy,
                "unit": attempt.unit,
                "picked": attempt.picked,
                "prefilled_by": attempt.prefilled_by,
                "matched_bytes": attempt.matched_bytes,
                "prompt_bytes": attempt.prompt_bytes,
                "after_s": attempt.at_s - entry.began_s,
                "ttft_s": attempt.ttft_s,
                "weighed_count": attempt.weighed_count,
                "candidates": [
                    {
                        "replica_id": weighed.replica_id,
                        "prefill_id": weighed.prefill_id,
                        "cost": weighed.cost,
                        "terms": weighed.terms,
                    }
                    for weighed in attempt.candidates()
                ],
            }
            for attempt in entry.attempts
        ],
    }
