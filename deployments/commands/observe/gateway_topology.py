"""`rackserve topology --url`: the replicas that gateways know, by machine; of GPUs only a Ray cluster knows."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from cluster.spec.model_spec import label_of
from deployments.commands.status.gateway_report import report_of_gateways


def gateway_topology(urls: Sequence[str], *, as_json: bool, console: Console) -> None:
    """Print the machines of gateways' replicas.

    Args:
        urls: the gateways' URLs.
        as_json: print everything as JSON instead.
        console: where to print.

    Raises:
        ClusterUnreachableError: no gateway answers there.
        ClusterError: what answers is no admin port, or it refuses the key.
    """
    (application,) = report_of_gateways(urls)["applications"]
    replicas = list(_replicas(application["models"]))
    if as_json:
        nodes = [{"host": host} for host in sorted({each["hosts_by_rank"][0] for each in replicas})]
        print(json.dumps({"nodes": nodes, "replicas": replicas, "waiting": []}, indent=2))  # noqa: T201 - for programs
        return
    host = ""
    for each in sorted(replicas, key=lambda each: (each["hosts_by_rank"][0], each["replica"])):
        if each["hosts_by_rank"][0] != host:
            host = each["hosts_by_rank"][0]
            console.print(Text(f"host {host}"), soft_wrap=True)
        console.print(Text(f"  {each['replica']}"), soft_wrap=True)
    console.print("GPUs and racks: ask the Ray cluster by --address" if replicas else "no replica")


def _replicas(models: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "replica": f"{label_of(name, row.get('pool', ''))}#{row['replica_id']}",
            "model": name,
            "pool": row.get("pool", ""),
            "hosts_by_rank": [row["host"]],
        }
        for name, model in models.items()
        for row in model["replicas"]
    ]
