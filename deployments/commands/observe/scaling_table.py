"""The table of the autoscaler's last decisions in `rackserve status`: when, how many replicas, why, and its inputs."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from cluster.errors import ClusterError
from deployments.autoscaling.actor import actor_name
from deployments.commands.observe.fitted_table import print_rows

SHOWN = 5
"""Most decisions of each model in the table; `--json` has all that are kept."""
KEPT = 256
"""Most decisions of each model that are asked for."""


def decisions_of(application: str) -> dict[str, list[dict[str, Any]]]:
    """Return each autoscaled model's decisions, newest first; empty if no model autoscales or the actor is away."""
    import deployments.ray_api as ray_api  # noqa: PLC0415 - seconds; the table alone needs no Ray

    name = actor_name(application)
    if name not in ray_api.actor_names():
        return {}
    try:
        found: dict[str, list[dict[str, Any]]] = ray_api.existing_actor(name).call_now("history", KEPT)
    except ClusterError:
        return {}
    return found


def print_scaling(models: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """Print the decisions of a report's models; nothing if no model has one.

    Args:
        models: the models of an application in the report of `rackserve status --json`, by name.
        console: where to print.
    """
    rows = []
    for name, model in models.items():
        for row in _shown(model["decisions"]):
            change = row["target"] if row["target"] == row["previous"] else f"{row['previous']} → {row['target']}"
            known, made = row["metrics"], row["signals"]
            rows.append(
                [
                    name,
                    f"{_ago(row['ago_s'])} ago" if row["decisions"] == 1 else f"for {_ago(row['from_ago_s'])}",
                    str(change),
                    "; ".join(row["reasons"]),
                    str(known["ready"]),
                    str(known["waiting_requests"]),
                    f"{made['queue_s']:.1f} s",
                    f"{made['load_replicas']:.1f}",
                ]
            )
    print_rows(console, ["model", "decided", "replicas", "why", "ready", "waiting", "queue", "work for"], rows)


def _shown(decisions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the latest decision and the last ones that changed the number of replicas, `SHOWN` in all."""
    changes = [row for row in decisions[1:] if row["target"] != row["previous"]]
    return [*decisions[:1], *changes[: SHOWN - 1]]


def _ago(seconds: float) -> str:
    if seconds < 120:  # noqa: PLR2004 - two minutes
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"  # noqa: PLR2004 - two hours
