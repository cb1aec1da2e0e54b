"""A line on what a model's replicas do of what their plan promised, for `rackserve status`."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from cluster.spec.model_spec import label_of
from router.replicas.plan_promise import KEPT, Promised

_SHOWN: Final[Mapping[str, str]] = {
    Promised.PREFILL: "prefill",
    Promised.DECODE: "decode",
    Promised.KV_TOKENS: "KV tokens",
    Promised.START: "start",
}


def plan_lines(models: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each pool of which something was promised, and one for each replica that keeps too little of it.

    Args:
        models: the models of an application in the report of `rackserve status --json`, by name.
    """
    for name, model in models.items():
        of_pool: dict[str, list[tuple[str, Mapping[str, float]]]] = {}
        for replica in model["replicas"]:
            if replica.get("plan"):
                told = (replica["replica_id"], replica["plan"])
                of_pool.setdefault(label_of(name, replica.get("pool", "")), []).append(told)
        for label, told_by in of_pool.items():
            least = {
                what: min(plan[what] for _, plan in told_by if what in plan)
                for what in _SHOWN
                if any(what in plan for _, plan in told_by)
            }
            many = f", the least of {len(told_by)} replicas" if len(told_by) > 1 else ""
            yield f"plan of {label}: {_in_words(least)} of what was promised{many}"
            for replica_id, plan in told_by:
                broken = {what: share for what, share in plan.items() if share < KEPT}
                if broken:
                    yield f"{replica_id} does not do what was planned: {_in_words(broken)}"


def _in_words(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{shown} {shares[what]:.0%}" for what, shown in _SHOWN.items() if what in shares)
