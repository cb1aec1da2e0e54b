"""Gangs that wait for a place: this part of `rackserve status` and `rackserve topology`."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from cluster.errors import ClusterError
from cluster.spec.model_spec import label_of


def waiting_gangs() -> list[dict[str, Any]]:
    """Return the gangs that wait, the longest waiting first; empty if the placer does not answer."""
    from deployments.gang_placement.placer import waiting_now  # noqa: PLC0415 - seconds; printing alone needs no Ray

    try:
        waiting = waiting_now()
    except ClusterError:
        return []
    return [
        {
            "replica": each.gang.name,
            "model": each.gang.model,
            "pool": each.gang.pool,
            "gpus": each.gang.gpus,
            "why_not": each.message,
            "waited_s": each.waited_s,
            "autoscaler_asked_for": {"gpus": each.gang.gpus, "node_group": each.node_group},
        }
        for each in waiting
    ]


def print_waiting(waiting: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print for each waiting gang what is missing, and the GPUs asked of the autoscaler."""
    for each in waiting:
        asked = each["autoscaler_asked_for"]
        group = f" of node group {asked['node_group']}" if asked["node_group"] else ""
        line = f"{label_of(each['model'], each['pool'])} waits for {each['waited_s']:.0f} s: {each['why_not']}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
        request = f"  the autoscaler was asked for {asked['gpus']} GPUs{group}"
        console.print(request, markup=False, highlight=False, soft_wrap=True)
