"""The part of /ready that says, for each model, how its replicas' prefix caches are known, and why."""

from collections import Counter
from typing import Any, Final

from router.dispatch.fleet import Fleet
from router.estimator.model_estimator import ModelEstimator
from router.prefix_cache.residency import Mode
from router.replicas.endpoint import Endpoint, Signal

MODES: Final = (Mode.EXACT, Mode.OBSERVED, Mode.NONE)
MIXED: Final = "mixed"
UNKNOWN: Final = "unknown"


def affinity_of(fleet: Fleet, estimator: ModelEstimator) -> dict[str, Any]:
    """Return how the prefix caches of a model's replicas are known, as plain JSON values.

    Args:
        fleet: the model's replicas and policy.
        estimator: the model's estimator, which knows the caches.

    Returns:
        `mode`: `exact`, `observed` or `none` if all replicas have that mode, `mixed` if they differ, `unknown` if there
        is no replica. `exact`, `observed` and `none`: the number of replicas in that mode. `why`: for each mode in use,
        one of its replicas and the reason for its mode.
    """
    if not estimator.reads_prompts:
        count = len(fleet.replicas)
        reason = f"the policy {fleet.policy.name} reads no prompts"
        return {"mode": Mode.NONE, Mode.EXACT: 0, Mode.OBSERVED: 0, Mode.NONE: count, "why": {Mode.NONE: reason}}
    modes = estimator.modes()
    why: dict[str, str] = {}
    for replica_id, mode in sorted(modes.items()):
        replica = fleet.replicas.get(replica_id)
        if mode not in why and replica is not None:
            why[mode] = f"{replica_id}: {_reason(replica.endpoint, mode)}"
    counts = Counter(modes.values())
    mode = next(iter(counts)) if len(counts) == 1 else MIXED if counts else UNKNOWN
    return {"mode": mode, **{mode: counts[mode] for mode in MODES}, "why": why or {UNKNOWN: "there is no replica yet"}}


def _reason(endpoint: Endpoint, mode: str) -> str:
    if mode == Mode.OBSERVED and Signal.RESIDENCY in endpoint.signals:
        return "its snapshot has not come yet"
    return endpoint.affinity_proof or "no self-test; inferred from what is sent there"
