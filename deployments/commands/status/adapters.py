"""What gateways know of LoRA adapters: `rackserve adapters list`, and the lines of `rackserve status`."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from rich.console import Console

from deployments.commands.status.fitted_table import print_rows
from deployments.commands.target.gateway_pages import GatewayPages, admin_ports
from deployments.commands.target.target import CommandTarget


def list_adapters(target: CommandTarget, *, as_json: bool, console: Console) -> None:
    """Print the adapters of all models: which replicas have each loaded, and which cannot serve it.

    Raises:
        ClusterUnreachableError: there is no Ray cluster, no RackServe on it, or no gateway answers.
    """
    replicas: dict[str, dict[str, dict[str, Any]]] = {}
    for state in gateway_states(target):
        for model in state["models"]:
            replicas.setdefault(model, {}).update(adapters_in(state, model))
    rows = [row for model, told in sorted(replicas.items()) for row in _rows(model, told)]
    if as_json:
        print(json.dumps(rows, indent=2))  # noqa: T201 - for programs, on stdout
        return
    shown = [[row["adapter"], row["model"], ", ".join(row["loaded"]), "; ".join(row["problems"])] for row in rows]
    print_rows(console, ["adapter", "model", "loaded on", "problems"], shown)
    if not rows:
        console.print("no model has adapters", markup=False)


def adapter_lines(models: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each replica that has room for adapters, and one for each adapter that it cannot serve.

    Args:
        models: the models of an application in the report of `rackserve status --json`, by name.
    """
    for model, view in models.items():
        for replica in view["replicas"]:
            told = replica.get("adapters")
            if not told:
                continue
            where, held = replica["replica_id"], ", ".join(told["held"]) or "none"
            loads = f"; {told['loads']} loads of {told['load_s']:.2f} s" if told["loads"] else ""
            yield f"adapters {model} on {where}: {held} loaded, of {len(told['known'])} in {told['slots']} slots{loads}"
            for name, why in told["problems"].items():
                yield f"adapter {name} cannot be served on {where}: {why}"


def gateway_states(target: CommandTarget) -> list[dict[str, Any]]:
    """Return the state of each gateway that answers.

    Raises:
        ClusterUnreachableError: there is no Ray cluster, no RackServe on it, or no gateway answers.
    """
    with closing(GatewayPages()) as pages:
        return [state for port in admin_ports(target, pages) if (state := pages.state(port)) is not None]


def adapters_in(state: Mapping[str, Any], model: str) -> dict[str, dict[str, Any]]:
    """Return what the replicas of a model have told one gateway of their adapters, by replica."""
    view = state["models"].get(model, {"replicas": ()})
    return {row["replica_id"]: row["adapters"] for row in view["replicas"] if row.get("adapters")}


def _rows(model: str, replicas: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    names = sorted({name for told in replicas.values() for name in (*told["known"], *told["problems"])})
    return [
        {
            "adapter": name,
            "model": model,
            "loaded": sorted(replica for replica, told in replicas.items() if name in told["held"]),
            "problems": sorted({told["problems"][name] for told in replicas.values() if name in told["problems"]}),
        }
        for name in names
    ]
