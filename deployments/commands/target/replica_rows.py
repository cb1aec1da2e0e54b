"""One row for each replica, of the rows that a gateway's `/state` has: one for each data-parallel rank."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from router.replicas.speculation_report import SpeculationReport, together

_SUMMED: Final = (
    "running",
    "waiting",
    "waiting_tokens",
    "kv_capacity_tokens",
    "prefill_tokens_per_s",
    "decode_tokens_per_s",
    "accepted",
    "step_tokens",
)


def replica_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a model's rows with the ranks of each replica put together.

    Args:
        rows: a model's `replicas` in a gateway's `/state`.

    Returns:
        A replica without ranks has its row as it is. Of one with ranks, `report` is that of all which report, `plan`
        has the least of what a rank keeps, and `ranks` has their rows.
    """
    of_replica: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        of_replica.setdefault(row.get("replica", row["replica_id"]), []).append(row)
    return [
        _whole(name, ranks) if ranks[0].get("rank") is not None else dict(ranks[0])
        for name, ranks in of_replica.items()
    ]


def _whole(name: str, ranks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    own = {"replica_id": name, "rank": None, "report": _report(ranks), "plan": _plan(ranks)}
    return {**ranks[0], **own, "ranks": [dict(row) for row in ranks]}


def _plan(ranks: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    told = [row.get("plan", {}) for row in ranks]
    return {what: min(plan[what] for plan in told if what in plan) for plan in told for what in plan}


def _report(ranks: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the load of all ranks that report: sums, and the mean share of KV cache in use; None: none does."""
    reports = [row["report"] for row in ranks if row["report"] is not None]
    if not reports:
        return None
    told = together([SpeculationReport(**each["speculation"]) for each in reports if each["speculation"]])
    return {
        **reports[0],
        **{name: sum(each[name] for each in reports) for name in _SUMMED},
        "kv_usage": sum(each["kv_usage"] for each in reports) / len(reports),
        "gateways": max(each["gateways"] for each in reports),
        "speculation": asdict(told) if told is not None else None,
    }
