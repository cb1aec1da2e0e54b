"""Finds models whose replicas can never start on the machines that there are, whatever else runs there."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cluster.errors import TopologyError
from cluster.placement.gang import Gang, WhyNot
from cluster.placement.placement import Placement
from cluster.placement.topology import Node, Topology


@dataclass(frozen=True, slots=True)
class ReplicaNeeds:
    """What the replicas of one model, or of one of its pools, need.

    Attributes:
        replicas: number of replicas that must run at once.
        gang: the GPUs of one replica, whose name is its label.
        is_on_one_node: the GPUs of a replica must be on one machine; a gang's only in one domain.
        gpus: logical GPUs of one replica; a fraction shares a GPU.
        cpus: logical CPUs of a replica's own process.
    """

    replicas: int
    gang: Gang
    is_on_one_node: bool
    gpus: float
    cpus: float


@dataclass(frozen=True, slots=True)
class WholeMachine:
    """One machine with all that it has, used or not.

    Attributes:
        node: the machine with its domain, rack and GPUs.
        cpus: logical CPUs.
    """

    node: Node
    cpus: float


def shortages(
    needs: Sequence[ReplicaNeeds], machines: Sequence[WholeMachine], spares_per_domain: int = 0
) -> dict[str, str]:
    """Return why models cannot start, by the label of their pool: what a replica wants and what there is.

    GPUs are shared out as `cluster.placement.placement` does it, among those of `needs` alone.

    Args:
        needs: what each model, or each of its pools, needs.
        machines: all machines, neighbours adjacent.
        spares_per_domain: nodes of each domain kept for gangs that lost one.
    """
    found = {each.gang.label: message for each in needs if (message := _alone(each, machines))}
    gangs = [gang for each in needs if each.gpus > 0 and each.gang.label not in found for gang in _gangs(each)]
    nodes = [machine.node for machine in machines if machine.node.gpus]
    if not gangs or not nodes:
        return found
    try:
        placement = Placement(Topology.of(nodes), spares_per_domain=spares_per_domain, small_domains_keep_fewer=True)
    except TopologyError as error:
        return {**found, **{gang.label: f"the nodes' labels are wrong: {error}" for gang in gangs}}
    waiting: dict[str, list[WhyNot]] = {}
    for why in placement.place_all(gangs).waiting:
        waiting.setdefault(why.gang.label, []).append(why)
    total = sum(node.gpus for node in nodes)
    for each in needs:
        whys = waiting.get(each.gang.label)
        if whys:
            found[each.gang.label] = (
                f"{len(whys)} of {each.replicas} replicas would have no place: a replica wants {_gpus(each)}, the "
                f"machines have {total} in all; {whys[0].message}"
            )
    return found


def _alone(needs: ReplicaNeeds, machines: Sequence[WholeMachine]) -> str:
    """Return why not even one replica could start with the whole cluster to itself; "" if it could."""
    most_cpus = max((machine.cpus for machine in machines), default=0.0)
    if needs.cpus > most_cpus:
        return f"a replica wants {needs.cpus:g} CPUs on one machine; the largest has {most_cpus:g}"
    nodes, kind = [machine.node for machine in machines if machine.node.gpus], needs.gang.accelerator
    fitting = [node.gpus for node in nodes if not kind or node.accelerator == kind]
    there_is = ""
    if not nodes:
        there_is = f"Ray sees 0 GPUs on {len(machines)} machine{'s' if len(machines) != 1 else ''}"
    elif not fitting:
        kinds = sorted({node.accelerator or "no label ray.io/accelerator-type" for node in nodes})
        there_is = f"the machines with GPUs have {', '.join(kinds)}"
    elif needs.gang.gpus > sum(fitting):
        there_is = f"the machines have {sum(fitting)} in all"
    elif needs.is_on_one_node and needs.gpus > max(fitting):
        there_is = f"they must be on one machine, and none has more than {max(fitting)}"
    return f"a replica wants {_gpus(needs)}; {there_is}" if needs.gpus > 0 and there_is else ""


def _gangs(needs: ReplicaNeeds) -> Iterator[Gang]:
    """Yield the gangs of a model's replicas; replicas that share GPUs take as many as all of them together."""
    count = needs.replicas if needs.gpus >= 1 else math.ceil(needs.replicas * needs.gpus)
    for number in range(count):
        yield replace(needs.gang, name=f"{needs.gang.label}#{number}")


def _gpus(needs: ReplicaNeeds) -> str:
    kind = f" of the kind {needs.gang.accelerator}" if needs.gang.accelerator else ""
    return f"{needs.gpus:g} GPU{'s' if needs.gpus != 1 else ''}{kind}"
