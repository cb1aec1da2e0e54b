"""A dry run of a request: where it would go now, what is cached there and what it would cost, without running it.

Nothing is reserved, counted or learned, and the dispatcher's generator is not drawn from: the next real request is
dispatched as if none had been tried.
"""

from collections.abc import Sequence
from random import Random
from typing import Any

from router.dispatch.dispatcher import Dispatcher
from router.dispatch.replica import Replica
from router.flow_control.slots.slots import Slots
from router.request import RoutingRequest
from router.scheduling.interface import MAX_SHOWN, cheapest
from router.scheduling.pickers import Lowest

DRY_RUN = b"x-rackserve-dry-run"
"""The header of a request that is only to be tried."""


def dry_run(dispatcher: Dispatcher, request: RoutingRequest, tenant: str, now_s: float) -> dict[str, Any]:
    """Return what would be decided for a request now, as plain JSON values.

    Args:
        dispatcher: its model's dispatcher.
        request: the request.
        tenant: the tenant that sends it.
        now_s: the time, monotonic seconds.
    """
    estimator, fleet = dispatcher.estimator, dispatcher.fleet
    request.now_s = now_s
    request.match = match = estimator.match(request.chain)
    candidates = dispatcher.reservations.candidates(request, frozenset())
    queue = dispatcher.queue(now_s)
    waits = dispatcher.someone_waits or not Slots.has_room_in(fleet.candidates, now_s)
    found: dict[str, Any] = {
        "model": request.model,
        "adapter": request.adapter,
        "tenant": tenant,
        "prompt_bytes": request.chain.size_bytes or len(request.body),
        "prompt_tokens": round(match.tokens or request.chain.tokens or estimator.uncached_tokens(request)),
        "would": "wait" if waits else "go",
        "waiting": queue.waiting,
        "expected_wait_s": round(queue.drain_s, 3) if waits else 0.0,
        "policy": fleet.policy.name,
        "unit": fleet.policy.scorer.unit,
        "picked": "",
        "may_be_divided": bool(fleet.prefillers) and request.is_divisible,
        "candidates": [],
    }
    if not candidates:
        found["would"] = "wait" if dispatcher.limits.cold_start_timeout_s > 0 else "be refused"
        return found
    found["candidates"] = rows = _weighed(dispatcher, request, candidates)
    if isinstance(fleet.policy.picker, Lowest) and rows:
        found["picked"] = rows[0]["replica_id"]
    return found


def _weighed(dispatcher: Dispatcher, request: RoutingRequest, candidates: Sequence[Replica]) -> list[dict[str, Any]]:
    """Return the candidates that would be weighed, the cheapest first; at most `MAX_SHOWN`."""
    policy = dispatcher.fleet.policy
    drawn = Random(0)  # noqa: S311 - a sample that a real request would draw anew
    kept = list(candidates)
    for narrow in policy.filters:
        kept = list(narrow.keep(request, kept, drawn))
    if not kept:
        return []
    scorer = policy.scorer
    costs, terms = scorer.weigh(request, kept)
    if len(kept) > MAX_SHOWN:
        shown = cheapest(costs, costs.index(min(costs)))
        kept = [kept[at] for at in shown]
        costs, terms = scorer.weigh(request, kept)
    chain, match = request.chain, request.match
    rows = []
    for place, replica in enumerate(kept):
        held = match.count(replica.replica_id)
        rows.append(
            {
                "replica_id": replica.replica_id,
                "pool": replica.endpoint.pool,
                "cost": costs[place],
                "terms": dict(zip(scorer.terms, terms[place], strict=True)) if terms else {},
                "cached_bytes": chain.prefix_bytes(held),
                "cached_tokens": round(match.cached_tokens(chain, held)),
                "in_flight": replica.in_flight,
            }
        )
    return sorted(rows, key=lambda row: row["cost"])
