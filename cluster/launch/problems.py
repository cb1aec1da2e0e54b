"""Finds mistakes in a `launch:` section that no single key shows, before any machine is touched."""

from collections.abc import Iterator, Sequence

from cluster.errors import SpecProblem, TopologyError
from cluster.launch.addresses import address_problems, hosts_by_key
from cluster.launch.disks import disk_problems
from cluster.launch.machines import machine_of, topology_of
from cluster.placement.gang_file import gangs_of_spec
from cluster.placement.placement import Placement
from cluster.planning.disk_room import downloads
from cluster.spec.cluster_spec import ClusterSpec
from cluster.spec.launch_spec import AwsLaunch, AwsWorkers, GcpLaunch, GcpWorkers, LaunchSpec, OnPremLaunch

RESERVED_NAMES = frozenset({"head"})


def launch_problems(spec: ClusterSpec) -> Iterator[SpecProblem]:
    """Yield every problem that keeps `spec` from being launched, each with its key."""
    if spec.launch is None:
        yield SpecProblem("launch", "missing: it says which machines to start Ray on (see cluster/launch/README.md)")
        return
    found = [*_names(spec.launch), *_placed(spec.launch), *_sources(spec)]
    if isinstance(spec.launch, OnPremLaunch):
        found += address_problems(spec.launch, spec.gateway.host)
    found += disk_problems(spec.launch, sum(downloads(spec.in_pools()).values()))
    yield from found
    if not found:
        yield from _too_few_machines(spec, spec.launch)


def _names(launch: LaunchSpec) -> Iterator[SpecProblem]:
    group_of: dict[str, int] = {}
    for position, group in enumerate(launch.workers):
        first = group_of.setdefault(group.name, position)
        if first != position or group.name in RESERVED_NAMES:
            taken = f"workers[{first}]" if first != position else "the head's node type"
            yield SpecProblem(f"launch.workers[{position}].name", f"{group.name!r} is already the name of {taken}")
    if isinstance(launch, OnPremLaunch):
        place_of: dict[str, str] = {}
        for key, host in hosts_by_key(launch).items():
            where = key.removeprefix("launch.")
            other = place_of.setdefault(host, where)
            if other != where:
                yield SpecProblem(key, f"{host} is already {other}; a machine is one node")


def _placed(launch: LaunchSpec) -> Iterator[SpecProblem]:
    if isinstance(launch, AwsLaunch | GcpLaunch) and not launch.zone.startswith(launch.region):
        yield SpecProblem("launch.zone", f"{launch.zone} is not in launch.region {launch.region}")
    if isinstance(launch, OnPremLaunch):
        return
    nodes_in: dict[str, int] = {}
    groups: Sequence[AwsWorkers | GcpWorkers] = launch.workers
    for position, group in enumerate(groups):
        where, machine = f"launch.workers[{position}]", machine_of(launch, group)
        if launch.provider == "aws-gb300" and group.reservation is None:
            yield SpecProblem(
                f"{where}.reservation", "missing: a rack is had by a capacity block only, such as cr-0123…"
            )
        if group.domain is None:
            if machine.nodes_per_domain > 1:
                yield SpecProblem(
                    f"{where}.domain", f"missing: {machine.nodes_per_domain} machines are one NVLink domain"
                )
            continue
        nodes_in[group.domain] = nodes_in.get(group.domain, 0) + group.count
        if nodes_in[group.domain] > machine.nodes_per_domain:
            holds = f"an NVLink domain has {machine.nodes_per_domain} {machine.name}"
            yield SpecProblem(f"{where}.domain", f"{group.domain!r} has {nodes_in[group.domain]} machines, but {holds}")


def _sources(spec: ClusterSpec) -> Iterator[SpecProblem]:
    for position, model in enumerate(spec.models):
        if model.source.startswith((".", "~")):
            yield SpecProblem(
                f"models[{position}].source",
                f"{model.source!r} is a folder of this machine; give a Hugging Face id, or a path that is the same on "
                "every node (/shared/models/…)",
            )


def _too_few_machines(spec: ClusterSpec, launch: LaunchSpec) -> Iterator[SpecProblem]:
    gangs = gangs_of_spec(spec, "min").gangs
    try:
        topology = topology_of(launch)
    except TopologyError as error:
        yield SpecProblem("launch.workers", str(error))
        return
    if not gangs:
        return
    if not topology.nodes:
        yield SpecProblem("launch.workers", "none of them has a GPU, but the models need some")
        return
    place_of = {
        pool.label: f"models[{position}]" + (f".pools[{number}]" if model.pools else "")
        for position, model in enumerate(spec.models)
        for number, pool in enumerate(model.in_pools())
    }
    reported: set[str] = set()
    placement = Placement(topology, spares_per_domain=spec.placement.spares_per_domain)
    for why in placement.place_all(gangs).waiting:
        if why.gang.label not in reported:
            reported.add(why.gang.label)
            yield SpecProblem(place_of[why.gang.label], f"does not fit on launch.workers: {why.message}")
