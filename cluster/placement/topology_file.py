"""The topology file: a list of machines as YAML, for what-if questions.

spares_per_domain: 1
racks:
- {name: rack, count: 14, accelerator: gb300, nodes: 18}      # rack-0 … rack-13, one domain each
- {name: old, accelerator: h100, nodes: 4}                    # four domains: old-d0 … old-d3
nodes:                                                          # or one by one
- {name: lab-1, rack: lab, domain: lab-a, gpus: 4}
lost: [rack-3-n7]
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cluster.placement.topology import Node, Topology
from cluster.planning.plan_file import unknown_hardware
from cluster.replica_cost.hardware import ACCELERATORS
from cluster.spec.checked_yaml import FileKind
from cluster.spec.yaml_tree import Location

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Racks(_Part):
    """One rack, or several equal ones.

    Attributes:
        name: name of the rack; several are named `name-0`, `name-1`, ….
        count: number of racks.
        nodes: machines in each rack.
        accelerator: an accelerator in `cluster.replica_cost.hardware`, which gives the next two unless set here.
        gpus_per_node: GPUs in each machine.
        nodes_per_domain: machines in each NVLink domain; unset and no accelerator: all machines of the rack.
    """

    name: Name
    count: Annotated[int, Field(ge=1, le=10_000)] = 1
    nodes: Annotated[int, Field(ge=1, le=10_000)]
    accelerator: str | None = None
    gpus_per_node: Annotated[int, Field(ge=1, le=1024)] | None = None
    nodes_per_domain: Annotated[int, Field(ge=1, le=10_000)] | None = None

    @field_validator("accelerator")
    @classmethod
    def _accelerator_is_known(cls, value: str | None) -> str | None:
        if value is not None and value not in ACCELERATORS:
            raise ValueError(unknown_hardware(value))
        return value

    def each_node(self) -> Iterator[Node]:
        """Yield every machine of these racks."""
        known = ACCELERATORS[self.accelerator] if self.accelerator else None
        gpus = self.gpus_per_node or (known.gpus_per_node if known else 1)
        size = min(self.nodes, self.nodes_per_domain or (known.nodes_per_domain if known else self.nodes))
        for number in range(self.count):
            rack = self.name if self.count == 1 else f"{self.name}-{number}"
            for position in range(self.nodes):
                domain = rack if size == self.nodes else f"{rack}-d{position // size}"
                yield Node(f"{rack}-n{position}", domain, rack, gpus, self.accelerator or "")


class OneNode(_Part):
    """One machine.

    Attributes:
        name: unique name of the machine.
        rack: name of its rack.
        domain: name of its NVLink domain; unset: that of its rack.
        gpus: number of its GPUs; 0: it is left out, as a head or a gateway's machine is.
        accelerator: kind of its GPUs, any word.
    """

    name: Name
    rack: Name
    domain: Name | None = None
    gpus: Annotated[int, Field(ge=0, le=1024)]
    accelerator: str = ""


class TopologyFile(_Part):
    """A whole topology file.

    Attributes:
        racks: machines given rack by rack.
        nodes: machines given one by one.
        spares_per_domain: number of machines in each domain that only rebuilt gangs may take.
        lost: names of the machines that are down.
    """

    racks: tuple[Racks, ...] = ()
    nodes: tuple[OneNode, ...] = ()
    spares_per_domain: Annotated[int, Field(ge=0)] = 0
    lost: tuple[str, ...] = ()

    def topology(self) -> Topology:
        """Return the machines that have GPUs as a topology.

        Raises:
            TopologyError: the machines contradict each other: a name stands twice, or a domain is in two racks.
        """
        generated = [node for racks in self.racks for node in racks.each_node()]
        listed = [
            Node(node.name, node.domain or node.rack, node.rack, node.gpus, node.accelerator)
            for node in self.nodes
            if node.gpus
        ]
        return Topology.of([*generated, *listed])


def _rules(data: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    if not data.get("racks") and not data.get("nodes"):
        yield ("racks",), "missing: list racks or nodes"
    racks = data.get("racks")
    for position, rack in enumerate(racks if isinstance(racks, list) else ()):
        if not isinstance(rack, dict):
            continue
        accelerator = rack.get("accelerator")
        if isinstance(accelerator, str) and accelerator not in ACCELERATORS:
            yield ("racks", position, "accelerator"), unknown_hardware(accelerator)
        if accelerator is None and "gpus_per_node" not in rack:
            yield ("racks", position, "gpus_per_node"), "missing: give it, or an accelerator that says it"


TOPOLOGY_FILE: Final = FileKind(
    name="topology file",
    root=TopologyFile,
    needs="it needs racks or nodes",
    rules=_rules,
)
