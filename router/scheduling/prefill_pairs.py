"""Whether a prompt is computed where its answer is generated, or elsewhere and fetched: by what it costs, in seconds.

For each replica d that may generate the answer there is one cost of computing the prompt there, and one for each
replica p that may compute it, with the blocks fetched by d. The lowest of all is taken. There is no threshold: short
remainders stay where their answer is, because a transfer costs more; long ones go, because they would stop the streams
that run there; and both change with queues and caches.
"""

from collections.abc import Sequence
from heapq import nsmallest
from random import Random
from typing import Final, Generic, NamedTuple, final

from router.estimator.handovers import Handovers, place_of
from router.estimator.model_estimator import ModelEstimator
from router.estimator.replica_estimator import ReplicaEstimator
from router.replicas.kv_transfer import KvTransfer
from router.request import RoutingRequest
from router.scheduling.expected_ttft import ExpectedTtft
from router.scheduling.interface import MAX_SHOWN, CandidateT, Decision
from router.scheduling.pickers import Lowest

LATE_AFTER: Final = 0.8
"""Share of a request's target of its time to first token from which being later costs more than the seconds."""
LATE_S: Final = 4.0
"""Seconds that a first token counts as at that share of the target, beside its own."""
LATE_POWER: Final = 4
"""Power with which this rises: little below the target, fast above it."""
MOST_LATE: Final = 10.0
"""Times that share of the target beyond which being later still costs the seconds alone: it is missed by far."""
STREAMS: Final = "streams_s"
LATE: Final = "late_s"
TRANSFER: Final = "transfer_s"
ROOM: Final = "room_s"
PAIR_TERMS: Final = (*ExpectedTtft.terms, TRANSFER, ROOM, STREAMS, LATE)
"""Names of the terms of a pair's cost: those of the replica that computes the prompt, and the pair's own."""
OWN: Final = 6
"""Number of the first terms of `ExpectedTtft` that are the request's own time to first token."""


class PairRow(NamedTuple):
    """One way to serve a request, as `rackserve why` shows it.

    Attributes:
        prefill_id: id of the replica that computes the prompt; "": the one that generates the answer.
        replica_id: id of the replica that generates the answer.
        cost: its cost in seconds.
        term_names: names of the terms that the cost is the sum of.
        terms: these terms, in seconds.
    """

    prefill_id: str
    replica_id: str
    cost: float
    term_names: Sequence[str]
    terms: Sequence[float]


class _Sender(NamedTuple, Generic[CandidateT]):
    """The best replica of one place to compute the prompt."""

    replica: CandidateT
    cost: float
    ttft_s: float
    stalled_s: float
    term_names: Sequence[str]
    terms: Sequence[float]
    card: KvTransfer


class _Pair(NamedTuple, Generic[CandidateT]):
    """One way to fetch the prompt."""

    sender: _Sender[CandidateT]
    transfer_s: float
    room_s: float
    late_s: float


class _Receiver(NamedTuple, Generic[CandidateT]):
    """One replica that may generate the answer: what its streams lose, and the ways to fetch the prompt."""

    replica: CandidateT
    cost: float
    stalled_s: float
    joins_s: float
    late_s: float
    pairs: list[_Pair[CandidateT]]


@final
class PrefillChoice(Generic[CandidateT]):
    """Where a request's prompt is computed and where its answer is generated.

    Attributes:
        replica: generates the answer.
        prefiller: computes the prompt; None: `replica` does.
        rows: the ways that were weighed, at most `MAX_SHOWN`, the cheapest first.
    """

    __slots__ = ("prefiller", "replica", "rows")

    def __init__(self, replica: CandidateT, prefiller: CandidateT | None, rows: list[PairRow]) -> None:
        self.replica = replica
        self.prefiller = prefiller
        self.rows = rows


class PrefillPairs(Generic[CandidateT]):
    """Weighs the pairs of one model's replicas. Changes no state.

    A way's cost has the terms of `ExpectedTtft` for the replica that computes the prompt. Beside them:

    - `transfer_s`: from asking d for the answer to its first token, as learned for the two places, for the tokens that
      d does not hold already.
    - `room_s`: what d's own prompts and full cache delay the answer beyond the time at which the prompt is computed.
    - `streams_s`: what streams lose, where the prompt is computed and where the answer is generated. A prompt costs
      little while they can spare the time, and more than it would at a busy prefill replica once they cannot; one more
      stream costs what nears the target of its tokens or theirs: see `StreamSlack`.
    - `late_s`: rises where the time to first token nears the request's target.

    Args:
        estimator: what is expected of each replica.
        handovers: what is expected of transfers.
    """

    def __init__(self, estimator: ModelEstimator, handovers: Handovers) -> None:
        self._handovers = handovers
        self._prefill_only = ExpectedTtft(estimator, estimator.prefill_work)
        self._answering = ExpectedTtft(estimator)
        self._picker = Lowest()

    def choose(
        self,
        request: RoutingRequest,
        decision: Decision[CandidateT],
        prefillers: Sequence[CandidateT],
        rng: Random,
        held_by: CandidateT | None = None,
    ) -> PrefillChoice[CandidateT]:
        """Choose where the prompt is computed and where the answer is generated.

        Args:
            request: the request; its prompt was looked up just before.
            decision: the policy's decision for computing the prompt where the answer is generated, in seconds.
            prefillers: the replicas that may compute it; may be empty.
            rng: breaks ties.
            held_by: the replica that has computed the prompt already and keeps its blocks; None: none has.
        """
        senders = [_holder(held_by)] if held_by is not None else self._senders(request, prefillers)
        receivers = [
            self._receiver(request, replica, cost, senders)
            for replica, cost in zip(decision.candidates, decision.costs, strict=True)
        ]
        costs: list[float] = []
        ways: list[tuple[int, _Pair[CandidateT] | None]] = []
        for at, each in enumerate(receivers):
            costs.append(each.cost + each.stalled_s + each.joins_s + each.late_s)
            ways.append((at, None))
            for pair in each.pairs:
                costs.append(pair.sender.cost + pair.transfer_s + pair.room_s + each.joins_s + pair.late_s)
                ways.append((at, pair))
        at, picked = ways[self._picker.pick(costs, rng)]
        shown = nsmallest(MAX_SHOWN, range(len(ways)), key=costs.__getitem__)
        rows = [self._row(costs[way], decision, ways[way][0], receivers, ways[way][1]) for way in shown]
        return PrefillChoice(receivers[at].replica, picked.sender.replica if picked is not None else None, rows)

    @staticmethod
    def _row(
        cost: float,
        decision: Decision[CandidateT],
        at: int,
        receivers: Sequence[_Receiver[CandidateT]],
        pair: _Pair[CandidateT] | None,
    ) -> PairRow:
        receiver = receivers[at]
        if pair is not None:
            sender = pair.sender
            streams_s = sender.stalled_s + receiver.joins_s
            terms = (*sender.terms, pair.transfer_s, pair.room_s, streams_s, pair.late_s)
            return PairRow(sender.replica.replica_id, receiver.replica.replica_id, cost, sender.term_names, terms)
        own: Sequence[float] = ()
        if decision.terms:
            shown = range(len(decision.candidates)) if decision.shown is None else decision.shown
            own = decision.terms[shown.index(at)] if at in shown else ()
        names = (*decision.term_names, STREAMS, LATE) if own else (STREAMS, LATE)
        terms = (*own, receiver.stalled_s + receiver.joins_s, receiver.late_s)
        return PairRow("", receiver.replica.replica_id, cost, names, terms)

    def _senders(self, request: RoutingRequest, prefillers: Sequence[CandidateT]) -> list[_Sender[CandidateT]]:
        """Return the cheapest prefiller of each place and kind: the links of one place are alike."""
        best: dict[tuple[str, KvTransfer], _Sender[CandidateT]] = {}
        for scorer, answers in ((self._prefill_only, False), (self._answering, True)):
            group = [each for each in prefillers if each.answers is answers]
            for at in range(0, len(group), MAX_SHOWN):  # terms are made for so many at a time
                part = group[at : at + MAX_SHOWN]
                for replica, cost, terms in zip(part, *scorer.weigh(request, part), strict=True):
                    card = replica.endpoint.transfer
                    if card is None:
                        continue
                    stalled_s = _stalled_s(replica, _missing(request, replica), request.now_s) if answers else 0.0
                    sender = _Sender(replica, cost + stalled_s, sum(terms[:OWN]), stalled_s, PAIR_TERMS, terms, card)
                    key = place_of(replica.endpoint), card
                    if key not in best or sender.cost < best[key].cost:
                        best[key] = sender
        return list(best.values())

    def _receiver(
        self, request: RoutingRequest, replica: CandidateT, cost: float, senders: Sequence[_Sender[CandidateT]]
    ) -> _Receiver[CandidateT]:
        now_s, running = request.now_s, replica.running
        missing = _missing(request, replica)
        stalled_s = _stalled_s(replica, missing, now_s)
        joins_s = replica.slack.joining_s(request.targets.tpot_s, replica.streams_soon, replica.streams)
        s_per_token = replica.rates.now.s_per_token
        below = request.match.fetched_tokens(request.chain, replica.replica_id)
        ttft_s = replica.pending.wait_s(now_s, s_per_token) + replica.rates.expected_s(missing, running)
        ttft_s += below * replica.fetch_s_per_token
        pairs: list[_Pair[CandidateT]] = []
        card, here = replica.endpoint.transfer, replica.endpoint
        if card is not None:
            for sender in senders:
                if sender.replica is not replica and not sender.card.why_not_to(card):
                    transfer_s = self._handovers.transfer_s(sender.replica.endpoint, here, missing + below, running)
                    room_s = _room_s(request, replica, missing, sender.ttft_s + transfer_s)
                    late_s = _late_s(request, sender.ttft_s + transfer_s + room_s)
                    pairs.append(_Pair(sender, transfer_s, room_s, late_s))
        return _Receiver(replica, cost, stalled_s, joins_s, _late_s(request, ttft_s), pairs)


def _holder(replica: CandidateT) -> _Sender[CandidateT]:
    """Return the replica that keeps the computed prompt: nothing is left to be done there."""
    card = replica.endpoint.transfer
    if card is None:
        raise ValueError(f"{replica.replica_id} keeps no blocks for others")
    return _Sender(replica, 0.0, 0.0, 0.0, PAIR_TERMS[-4:], (), card)


def _missing(request: RoutingRequest, replica: ReplicaEstimator) -> float:
    """Return the prompt tokens that a replica does not hold, at least 1."""
    match = request.match
    return max(1.0, match.tokens - match.cached_tokens(request.chain, match.count(replica.replica_id)))


def _stalled_s(replica: ReplicaEstimator, tokens: float, now_s: float) -> float:
    """Return what a replica's streams lose while it computes prompt tokens, in seconds before a first token."""
    stopped_s = replica.streams.stopped_s(tokens, replica.rates.now.s_per_token)
    return replica.slack.price_s(stopped_s, replica.streams_now, replica.streams, now_s)


def _late_s(request: RoutingRequest, ttft_s: float) -> float:
    """Return what it costs beside the seconds that a request's first token comes after `ttft_s` seconds."""
    late = min(ttft_s / (LATE_AFTER * request.targets.ttft_s), MOST_LATE)
    return float(LATE_S * late**LATE_POWER)


def _room_s(request: RoutingRequest, replica: ReplicaEstimator, missing: float, comes_after_s: float) -> float:
    """Return the seconds that a fetched prompt waits on a replica: for its own prompts and for room in its cache.

    Args:
        request: the request.
        replica: the replica that fetches it.
        missing: tokens of the prompt that it does not hold.
        comes_after_s: seconds until the prompt is there; what waits now has as long to be done.
    """
    now_s = request.now_s
    wait_s = replica.pending.wait_s(now_s, replica.rates.now.s_per_token) - comes_after_s
    report = replica.report
    room_s = 0.0
    if report is not None:
        lacking = missing - (1.0 - report.kv_usage) * report.kv_capacity_tokens
        room_s = replica.kv_wait_s(lacking, now_s) if lacking > 0.0 else 0.0
    return max(0.0, wait_s) + room_s
