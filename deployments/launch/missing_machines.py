"""Says what a cluster file wants and the Ray cluster does not have, so that nobody waits without a reason."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import deployments.ray_api as ray_api
from cluster.placement.gang_of_model import gang_of_model, needs_gang
from cluster.placement.node_labels import live_node, neighbours_adjacent
from cluster.placement.shortage import ReplicaNeeds, WholeMachine, shortages
from cluster.spec.cluster_spec import ClusterSpec
from cluster.spec.launch_spec import LaunchSpec, OnPremLaunch
from cluster.spec.model_spec import ModelSpec
from cluster.spec.parts.host import is_name
from deployments import app
from deployments.gang_placement.live_cluster import host_of
from deployments.launch.host_names import addresses_here

GATEWAY = "gateway"
"""Under this name the gateways' own needs are told."""


def missing_machines(spec: ClusterSpec, machines: Sequence[ray_api.Machine]) -> dict[str, str]:
    """Return why models, or the gateways, can never start on these machines; by the label of their pool.

    Args:
        spec: the cluster file.
        machines: all machines of the cluster.
    """
    found = shortages([_needs(model) for model in spec.in_pools()], _rooms(machines), spec.placement.spares_per_domain)
    labels = spec.gateway.node_labels
    if labels and not any(labels.items() <= machine.labels.items() for machine in machines):
        listed = ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))
        found[GATEWAY] = f"gateway.node_labels: no machine has the labels {listed}"
    return found


def away_machines(launch: LaunchSpec, machines: Sequence[ray_api.Machine]) -> tuple[str, ...]:
    """Return the workers of a `launch` section that have not joined, as it names them; of a cloud's, how many."""
    if isinstance(launch, OnPremLaunch):
        joined = {machine.address for machine in machines}
        hosts = [host for group in launch.workers for host in group.hosts]
        return tuple(host for host in hosts if joined.isdisjoint(addresses_here(host) if is_name(host) else (host,)))
    wanted = sum(group.count for group in launch.workers)
    lacking = wanted - (len(machines) - 1)  # one is the head
    return (f"{lacking} of {wanted} workers",) if lacking > 0 else ()


def _needs(model: ModelSpec) -> ReplicaNeeds:
    gang, is_gang = gang_of_model(model, model.label), needs_gang(model)
    gpus = float(gang.gpus) if is_gang else app.gpus_of(model)
    if not is_gang:
        gang = replace(gang, tensor=max(1, math.ceil(gpus)), pipeline=1, data=1, experts_whole=False)
    return ReplicaNeeds(max(1, model.replicas.min), gang, not is_gang, gpus, model.cpus)


def _rooms(machines: Sequence[ray_api.Machine]) -> list[WholeMachine]:
    """Return the machines with names that people know: hosts, with the node's id where several nodes share one."""
    nodes_on = Counter(host_of(machine) for machine in machines)
    names = {
        machine.node_id: host_of(machine) + (f" ({machine.node_id[:8]})" if nodes_on[host_of(machine)] > 1 else "")
        for machine in machines
    }
    cpus = {names[machine.node_id]: machine.cpus for machine in machines}
    nodes = [live_node(names[each.node_id], each.labels, each.gpus, each.free_gpus) for each in machines]
    return [WholeMachine(live.node, cpus[live.node.name]) for live in neighbours_adjacent(nodes, {n: n for n in cpus})]
