"""A cluster as it is simulated: its models, what their replicas are, its machines and its gateways."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cluster.errors import SpecError, SpecProblem
from cluster.placement.topology import Topology
from cluster.replica_cost.hardware import ACCELERATORS
from cluster.spec.cluster_spec import ClusterSpec
from cluster.spec.model_spec import ModelSpec
from deployments.twin.engines.replica_kind import ReplicaKind, ShapeOf, replica_kinds
from deployments.twin.fleet import machines_for
from deployments.twin.scenario_file import ScenarioFile

_PLAIN_NODE: Final = (8, 1)
"""GPUs of a machine, and machines of a domain, where the kind of GPU is not known."""


@dataclass(frozen=True)
class Cluster:
    """A cluster.

    Attributes:
        spec: the cluster file.
        scenario: the load on it, and what happens to it.
        models: its models.
        kinds: what the replicas of each pool are, by model.
        topology: its machines.
        gateways: its gateway processes.
        spares_per_domain: machines of each domain kept for replicas that lost one.
    """

    spec: ClusterSpec
    scenario: ScenarioFile
    models: tuple[ModelSpec, ...]
    kinds: tuple[tuple[ReplicaKind, ...], ...]
    topology: Topology
    gateways: int
    spares_per_domain: int

    @classmethod
    def of(  # noqa: PLR0913 - where each part comes from
        cls,
        spec: ClusterSpec,
        scenario: ScenarioFile,
        shape_of: ShapeOf,
        *,
        source: str,
        topology: Topology | None = None,
        spares_per_domain: int | None = None,
    ) -> "Cluster":
        """Return a cluster.

        Args:
            spec: the cluster file.
            scenario: the load on it, and what the file does not say.
            shape_of: returns a model's shape.
            source: name of the cluster file, for errors.
            topology: its machines; None: just enough for the most replicas of each pool.
            spares_per_domain: machines of each domain kept for replicas that lost one; None: as the file says.

        Raises:
            SpecError: the cluster and the scenario do not fit together; the message says where.
        """
        kinds = tuple(
            tuple(
                replica_kinds(
                    model, scenario.guess(model.name), scenario.hardware, shape_of, source, scenario.block_tokens
                )
            )
            for model in spec.models
        )
        machines = topology or machines_for(
            (kind for model in kinds for kind in model), lambda kind: _machine(kind, scenario)
        )
        count = spec.gateway.replicas
        if count == "every_node":
            count = len(machines.nodes) * (spec.gateway.per_node or 1)
        spares = spec.placement.spares_per_domain if spares_per_domain is None else spares_per_domain
        made = cls(spec, scenario, spec.models, kinds, machines, count, spares)
        problems = list(made._problems())
        if problems:
            raise SpecError(source, problems)
        return made

    def meant(self, name: str) -> tuple[int, str]:
        """Return the number of the model that a request means, and the adapter; "": none.

        Raises:
            KeyError: there is no such model.
        """
        if not name:
            return 0, ""
        for number, model in enumerate(self.models):
            if model.name == name:
                return number, ""
            if any(adapter.name == name for adapter in model.adapters):
                return number, name
        raise KeyError(name)

    @property
    def names(self) -> frozenset[str]:
        """What requests may ask for: the models and their adapters."""
        adapters = (adapter.name for model in self.models for adapter in model.adapters)
        return frozenset((*(model.name for model in self.models), *adapters))

    @property
    def gpus(self) -> int:
        """GPUs of the most replicas of all pools."""
        return sum(kind.gpus * kind.spec.replicas.max for model in self.kinds for kind in model)

    def _problems(self) -> Iterator[SpecProblem]:
        tenants = {tenant.name for tenant in self.spec.gateway.tenants}
        for number, stream in enumerate(self.scenario.load):
            try:
                self.meant(stream.model)
            except KeyError:
                yield SpecProblem(f"load.{number}.model", f"the cluster file has no model {stream.model!r}")
            unknown = [name for name in stream.tenants if tenants and name not in tenants]
            if unknown:
                yield SpecProblem(f"load.{number}.tenants", f"the cluster file has no tenant {unknown[0]!r}")
        names = {model.name for model in self.models}
        for name in sorted(self.scenario.models.keys() - names):
            yield SpecProblem(f"models.{name}", f"the cluster file has no model {name!r}")
        places = {part for node in self.topology.nodes for part in (node.name, node.domain, node.rack)}
        for number, event in enumerate(self.scenario.events):
            if event.update and event.update not in names:
                yield SpecProblem(f"events.{number}.update", f"the cluster file has no model {event.update!r}")
            if event.lose and event.lose not in places:
                some = ", ".join(node.name for node in self.topology.nodes[:3])
                yield SpecProblem(
                    f"events.{number}.lose", f"no node, domain or rack is called {event.lose!r}: {some}, …"
                )


def _machine(kind: ReplicaKind, scenario: ScenarioFile) -> tuple[int, int]:
    """Return the GPUs of a machine of a pool's kind, and the machines of an NVLink domain."""
    name = scenario.guess(kind.spec.name).hardware or scenario.hardware
    label = kind.accelerator.lower()
    name = next((each for each in ACCELERATORS if label and each in label), name)
    hardware = ACCELERATORS.get(name)
    return (hardware.gpus_per_node, hardware.nodes_per_domain) if hardware is not None else _PLAIN_NODE
