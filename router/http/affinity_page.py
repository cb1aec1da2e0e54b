"""How prompts' caches are known, model by model and why, as /ready tells it."""

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
    """Return how the caches of a model's replicas are known.

    Args:
        fleet: the model's replicas and policy.
        estimator: what is expected of them.

    Returns:
        `mode`: exact, observed or none where all replicas are alike, `mixed`, or `unknown` while there is none; the
        number of replicas in each mode; `why`: for each of these modes, what one of its replicas has shown.
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
