"""The table of the autoscaler's last decisions in `rackserve status`: when, how many replicas, why, and its inputs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from cluster.autoscaling.autoscaler import AT_MOST, OVERDUE_STARTS
from cluster.errors import ClusterError
from cluster.spec.model_spec import label_of
from deployments.autoscaling.actor import actor_name
from deployments.commands.status.fitted_table import print_rows

SHOWN = 5
"""Most decisions of each pool in the table; `--json` has all that are kept."""
KEPT = 256
"""Most decisions of each pool that are asked for."""


def decisions_of(application: str) -> dict[str, list[dict[str, Any]]]:
    """Return each autoscaled model's decisions, by pool, newest first; empty if none has any or the actor is away."""
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
        for row in (row for decisions in _by_pool(model["decisions"]) for row in _shown(decisions)):
            change = row["target"] if row["target"] == row["previous"] else f"{row['previous']} → {row['target']}"
            known, made = row["metrics"], row["signals"]
            rows.append(
                [
                    label_of(name, row["pool"]),
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


def starving_pools(models: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each pool that gets fewer replicas than it needs: it is at its maximum, or machines are lacking.

    Args:
        models: the models of an application, as `print_scaling` takes them.
    """
    for name, model in models.items():
        for rows in _by_pool(model["decisions"]):
            last, ready = rows[0], rows[0]["metrics"]["ready"]
            ordered = next((row for row in rows if row["target"] > row["previous"]), rows[-1])
            late_s = OVERDUE_STARTS * last["signals"].get("lead_s", 0.0)
            why = ""
            if last["reasons"][0].startswith(AT_MOST):
                why = "; ".join(last["reasons"])
            elif ready < last["target"] and ordered["from_ago_s"] > late_s:
                asked = f"{last['target']} were asked for {_ago(ordered['from_ago_s'])} ago"
                why = f"{asked} and {ready} {'is' if ready == 1 else 'are'} ready"
            if why:
                yield f"{label_of(name, last['pool'])} starves: {why}"


def _by_pool(decisions: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    for pool in dict.fromkeys(row["pool"] for row in decisions):
        yield [row for row in decisions if row["pool"] == pool]


def _shown(decisions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the latest decision and the last ones that changed the number of replicas, `SHOWN` in all."""
    changes = [row for row in decisions[1:] if row["target"] != row["previous"]]
    return [*decisions[:1], *changes[: SHOWN - 1]]


def _ago(seconds: float) -> str:
    if seconds < 120:  # noqa: PLR2004 - two minutes
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"  # noqa: PLR2004 - two hours
