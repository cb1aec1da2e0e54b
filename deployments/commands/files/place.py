"""`rackserve place`: shows where a cluster file's gangs would go on given machines, and what the loss of some does."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cluster.errors import SpecError, SpecProblem, TopologyError
from cluster.placement.gang import Gang, PlacedGang, WhyNot
from cluster.placement.gang_file import GANG_FILE, gangs_of_spec
from cluster.placement.placement import Placement, PlacementResult
from cluster.placement.report import domain_blast_radius, domain_uses, fragmentation, node_blast_radius
from cluster.placement.topology_file import TOPOLOGY_FILE, TopologyFile
from cluster.spec import cluster_file
from cluster.spec.yaml_tree import read_tree
from deployments.process.read_file import read_text


def place(  # noqa: PLR0913 - one parameter for each option of the command
    file: Path,
    topology: Path,
    *,
    at: Literal["min", "max"],
    lose: Sequence[str],
    spares: int | None,
    as_json: bool,
    console: Console,
) -> int:
    """Print where gangs would go.

    Args:
        file: a cluster file, or a gang file (`cluster.placement.gang_file`).
        topology: a file of the machines (`cluster.placement.topology_file`).
        at: place each model's least or most replicas.
        lose: nodes, domains or racks that then fail; the gangs on them are rebuilt.
        spares: nodes kept free in each domain; None: the topology file's number.
        as_json: print everything as JSON instead of tables.
        console: where tables go.

    Returns:
        The exit code: 1 if a gang has no place.

    Raises:
        SpecError: a file cannot be read or has mistakes.
        TopologyError: a name in `lose` is unknown, or the machines contradict each other.
    """
    gangs, notes = _gangs(file, at)
    machines = TOPOLOGY_FILE.load(read_text(topology), str(topology))
    placement = empty_placement(machines, str(topology), spares)
    first = placement.place_all(gangs)
    before = _state(placement, first)
    after: dict[str, Any] | None = None
    rebuilt = PlacementResult((), ())
    if lose:
        torn = _lose(placement, lose)
        rebuilt = placement.place_all(torn, rebuild=True)
        after = {"lost": list(lose), "torn_down": [gang.name for gang in torn], **_state(placement, rebuilt)}
    placement.check_integrity()
    if as_json:
        print(json.dumps({"notes": notes, **before, "after_loss": after}, indent=2))  # noqa: T201 - for programs
    else:
        _show(before, console, "")
        if after:
            torn_down = ", ".join(after["torn_down"]) or "nothing"
            console.print(f"\n[bold]After losing {escape(', '.join(lose))}[/]: torn down {escape(torn_down)}")
            _show(after, console, "rebuilt")
        for note in notes:
            console.print(f"left out: {escape(note)}", style="dim")
    return 1 if first.waiting or rebuilt.waiting else 0


def _gangs(file: Path, at: Literal["min", "max"]) -> tuple[list[Gang], list[str]]:
    text = read_text(file)
    try:
        data = read_tree(text).data
    except yaml.YAMLError:
        data = None  # the reader below reports what is wrong, and where
    if isinstance(data, dict) and "gangs" in data:
        return list(GANG_FILE.load(text, str(file)).each_gang()), []
    found = gangs_of_spec(cluster_file.load(text, str(file)), at)
    return list(found.gangs), list(found.left_out)


def empty_placement(machines: TopologyFile, source: str, spares: int | None) -> Placement:
    """Return the machines of a topology file as a placement without gangs.

    Args:
        machines: the file's content.
        source: its name, for errors.
        spares: nodes kept free in each domain; None: the file's number.

    Raises:
        SpecError: the machines contradict each other, or a lost one is unknown.
    """
    try:
        topology = machines.topology()
        lost = [node.name for name in machines.lost for node in topology.nodes_named(name)]
        kept = machines.spares_per_domain if spares is None else spares
        return Placement(topology, spares_per_domain=kept, lost=lost)
    except TopologyError as error:
        raise SpecError(source, [SpecProblem("", str(error))]) from error


def _lose(placement: Placement, names: Sequence[str]) -> list[Gang]:
    """Remove the nodes, domains and racks `names`; return the gangs torn down, in the order they were placed."""
    nodes = [node.name for name in names for node in placement.topology.nodes_named(name)]
    return [gang for node in dict.fromkeys(nodes) for gang in placement.lose(node)]


def _state(placement: Placement, outcome: PlacementResult) -> dict[str, Any]:
    pieces = fragmentation(placement)
    return {
        "placed": [_placed(placement, placed) for placed in outcome.placed],
        "waiting": [_waiting(why) for why in outcome.waiting],
        "domains": [{**asdict(use), "used": use.used} for use in domain_uses(placement)],
        "fragmentation": {**asdict(pieces), "share": pieces.share},
        "blast_radius": {
            "nodes": [asdict(radius) for radius in node_blast_radius(placement)],
            "domains": [asdict(radius) for radius in domain_blast_radius(placement)],
        },
    }


def _placed(placement: Placement, placed: PlacedGang) -> dict[str, Any]:
    gang = placed.gang
    return {
        "gang": gang.name,
        "model": gang.model,
        "pool": gang.pool,
        "tensor": gang.tensor,
        "pipeline": gang.pipeline,
        "data": gang.data,
        "gpus": gang.gpus,
        "domains": placement.domains_of(placed),
        "nodes_by_rank": list(placed.nodes),
    }


def _waiting(why: WhyNot) -> dict[str, Any]:
    return {
        "gang": why.gang.name,
        "model": why.gang.model,
        "pool": why.gang.pool,
        "why_not": why.message,
        "gpus_in_one_domain": why.unit_gpus,
        "groups": why.units,
        "room_for_groups": why.room_for,
        "best_domain": why.best_domain,
        "best_free": why.best_free,
    }


def _show(state: dict[str, Any], console: Console, verb: str) -> None:
    if state["placed"]:
        table = Table("gang", "GPUs", "layout", "domains", f"{verb or 'placed'} on nodes")
        for placed in state["placed"]:
            layout = f"TP {placed['tensor']} × PP {placed['pipeline']}"  # noqa: RUF001 - the field's own sign
            layout += f" × DP {placed['data']}" if placed["data"] > 1 else ""  # noqa: RUF001 - the field's own sign
            nodes = _runs(placed["nodes_by_rank"])
            table.add_row(escape(placed["gang"]), str(placed["gpus"]), layout, ", ".join(placed["domains"]), nodes)
        console.print(table)
    for why in state["waiting"]:
        console.print(f"[red]waits:[/] {escape(why['gang'])} {escape(why['why_not'])}")
    table = Table("domain", "rack", "GPUs", "used", "free", "spare", "lost", "gangs")
    for use in state["domains"]:
        counts = [str(use[key]) for key in ("gpus", "used", "free", "spare", "lost")]
        table.add_row(use["name"], use["rack"], *counts, escape(", ".join(use["gangs"])))
    console.print(table)
    pieces = state["fragmentation"]
    console.print(
        f"{pieces['free']} GPUs free; unused racks {pieces['whole_racks']}, domains {pieces['whole_domains']}; "
        f"largest block {pieces['largest_block']}; {pieces['stranded']} ({pieces['share']:.0%}) of no use to groups of "
        f"{pieces['group']}"
    )
    for what in ("nodes", "domains"):
        worst = next(iter(state["blast_radius"][what]), None)
        if worst:
            gangs = f"{len(worst['gangs'])} replica{'s' if len(worst['gangs']) > 1 else ''}"
            names = escape(", ".join(worst["gangs"]))
            console.print(f"worst {what.removesuffix('s')} to lose: {worst['name']} takes {gangs} ({names})")


def _runs(nodes: Sequence[str]) -> str:
    """Return the nodes of consecutive ranks in short form, such as `a x4, b x2`."""
    runs: list[tuple[str, int]] = []
    for node in nodes:
        if runs and runs[-1][0] == node:
            runs[-1] = (node, runs[-1][1] + 1)
        else:
            runs.append((node, 1))
    return ", ".join(f"{node} x{count}" for node, count in runs)
