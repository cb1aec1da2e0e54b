"""`rackserve topology`: draws racks, nodes, GPUs and the replicas on them, as they are now."""

import json
import string
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.text import Text

import deployments.ray_api as ray_api
from cluster.placement.gang import PlacedGang
from cluster.placement.gang_ledger import LiveNode
from deployments.commands.status.waiting_gangs import print_waiting, waiting_gangs
from deployments.gang_placement.live_cluster import host_of, live_nodes, standing_gangs

LETTERS: Final = string.ascii_uppercase + string.ascii_lowercase
FREE, OTHERS = "·", "#"
WIDTH: Final = 80
"""Width of the drawing in characters."""
HOST_CHARS: Final = 11
"""Characters of a host's name that are shown, from its end."""


def topology(address: str, *, as_json: bool, console: Console) -> None:
    """Draw a cluster: one mark per GPU, with the same letter for all GPUs of a replica.

    Args:
        address: the Ray cluster's address.
        as_json: print everything as JSON instead.
        console: where to draw.

    Raises:
        ClusterUnreachableError: there is no Ray cluster at `address`.
    """
    ray_api.connect(address)
    try:
        nodes, gangs = live_nodes(), standing_gangs()
        hosts = {machine.node_id: host_of(machine) for machine in ray_api.machines()}
        waiting = waiting_gangs()
    finally:
        ray_api.disconnect()
    if as_json:
        print(json.dumps(topology_data(nodes, gangs, hosts, waiting), indent=2))  # noqa: T201 - for programs
        return
    for line in drawing(nodes, gangs, hosts):
        console.print(Text(line), soft_wrap=True)
    print_waiting(waiting, console)


def topology_data(
    nodes: Sequence[LiveNode],
    gangs: Mapping[str, PlacedGang],
    hosts: Mapping[str, str],
    waiting: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return nodes, replicas and waiting gangs as JSON-like data; `hosts` are the nodes' names by id."""
    return {
        "nodes": [
            {
                "node_id": live.node.name,
                "host": hosts[live.node.name],
                "rack": live.node.rack,
                "domain": live.node.domain,
                "accelerator": live.node.accelerator,
                "gpus": live.node.gpus,
                "free": live.free,
            }
            for live in nodes
        ],
        "replicas": [
            {
                "replica": name,
                "model": placed.gang.model,
                "pool": placed.gang.pool,
                "tensor": placed.gang.tensor,
                "pipeline": placed.gang.pipeline,
                "data": placed.gang.data,
                "hosts_by_rank": [hosts.get(node, "") for node in placed.nodes],
            }
            for name, placed in sorted(gangs.items())
        ],
        "waiting": list(waiting),
    }


def drawing(nodes: Sequence[LiveNode], gangs: Mapping[str, PlacedGang], hosts: Mapping[str, str]) -> list[str]:
    """Return the lines of the drawing, and one for each replica with its whole id.

    Those of the drawing have at most `WIDTH` characters.

    Args:
        nodes: the machines with GPUs, neighbours adjacent.
        gangs: the gangs that stand, by name.
        hosts: the nodes' names by id.
    """
    letters = {name: LETTERS[number % len(LETTERS)] for number, name in enumerate(sorted(gangs))}
    lines: list[str] = []
    rack = domain = ""
    row: list[str] = []

    def flush() -> None:
        if row:
            lines.append("    " + "  ".join(row))
            row.clear()

    for live in nodes:
        node = live.node
        if node.rack != rack:
            flush()
            rack, domain = node.rack, ""
            in_rack = [each for each in nodes if each.node.rack == rack]
            gpus, free = sum(each.node.gpus for each in in_rack), sum(each.free for each in in_rack)
            lines.append(_clipped(f"rack {rack}: {len(in_rack)} nodes, {gpus} GPUs, {free} free"))
        if node.domain != domain:
            flush()
            domain = node.domain
            if domain != rack:
                lines.append(_clipped(f"  domain {domain}"))
        cell = f"{hosts[node.name][-HOST_CHARS:]:>{HOST_CHARS}} {_marks(live, gangs, letters)}"
        if sum(len(each) + 2 for each in [*row, cell]) + 2 > WIDTH:
            flush()
        row.append(cell)
    flush()
    lines.append(f"{FREE} free   {OTHERS} in other use" if nodes else "no node has GPUs")
    for name, placed in sorted(gangs.items()):
        gang = placed.gang
        layout = f"TP {gang.tensor} x PP {gang.pipeline}" + (f" x DP {gang.data}" if gang.data > 1 else "")
        model, _, replica = name.partition("#")
        lines.append(f"{letters[name]} {model} ({replica}): {layout}, {gang.gpus} GPUs")
    return lines


def _marks(live: LiveNode, gangs: Mapping[str, PlacedGang], letters: Mapping[str, str]) -> str:
    marks = "".join(letters[name] * placed.nodes.count(live.node.name) for name, placed in sorted(gangs.items()))
    others = max(0, live.node.gpus - live.free - len(marks))
    return (marks + OTHERS * others).ljust(live.node.gpus, FREE)


def _clipped(line: str, width: int = WIDTH) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"
