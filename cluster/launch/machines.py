"""The machines of a `launch:` section: their types, their labels, and the topology they make for placement."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from cluster.placement.node_labels import DOMAIN, RACK
from cluster.placement.topology import Node, Topology
from cluster.spec.launch_spec import AwsWorkers, GcpWorkers, LaunchSpec, OnPremWorkers


@dataclass(frozen=True, slots=True)
class MachineType:
    """A type of machine.

    Attributes:
        name: the cloud's name for it; "" for machines that are not a cloud's.
        cpus: virtual CPUs of one machine.
        gpus: GPUs of one machine.
        nodes_per_domain: most machines in one NVLink domain.
    """

    name: str
    cpus: int
    gpus: int
    nodes_per_domain: int = 1


AWS_MACHINES: Final = {
    "aws-p5": MachineType("p5.48xlarge", 192, 8),
    "aws-gb300": MachineType("p6e-gb300.36xlarge", 144, 4, 18),
}
"""Machine type of each provider on AWS. Source: aws.amazon.com/ec2/instance-types/p5 and …/p6e."""

GCP_MACHINES: Final = {
    machine.name: machine
    for machine in (
        MachineType("a3-highgpu-8g", 208, 8),
        MachineType("a3-ultragpu-8g", 224, 8),
        MachineType("a4-highgpu-8g", 224, 8),
        MachineType("a4x-highgpu-4g", 140, 4, 18),
    )
}
"""Machine types of Google Cloud, by name. Source: cloud.google.com/compute/docs/accelerator-optimized-machines."""


def machine_of(launch: LaunchSpec, group: OnPremWorkers | AwsWorkers | GcpWorkers) -> MachineType:
    """Return the type of a group's machines; its `cpus` are 0 on premises where the file does not give them."""
    if isinstance(group, OnPremWorkers):
        return MachineType("", group.cpus or 0, group.gpus, group.count)
    if isinstance(group, GcpWorkers):
        return GCP_MACHINES[group.machine]
    return AWS_MACHINES[launch.provider]


def labels_of(group: OnPremWorkers | AwsWorkers | GcpWorkers) -> Mapping[str, str]:
    """Return the Ray labels that all machines of a group share."""
    found = dict(group.labels)
    if group.domain:
        found[DOMAIN] = group.domain
    if group.rack:
        found[RACK] = group.rack
    return found


def topology_of(launch: LaunchSpec) -> Topology:
    """Return the topology of the workers; those without a GPU are left out.

    Raises:
        TopologyError: a domain is in two racks, or two workers have the same name.
    """
    return Topology.of(node for group in launch.workers for node in _nodes(launch, group))


def _nodes(launch: LaunchSpec, group: OnPremWorkers | AwsWorkers | GcpWorkers) -> Iterator[Node]:
    gpus = machine_of(launch, group).gpus
    for number in range(group.count if gpus else 0):
        name = group.hosts[number] if isinstance(group, OnPremWorkers) else f"{group.name}-{number}"
        domain = group.domain or name
        yield Node(name, domain, group.rack or domain, gpus)
