"""Ray's nodes and placement groups as `cluster.placement` sees them."""

from dataclasses import asdict

import deployments.ray_api as ray_api
from cluster.errors import TopologyError
from cluster.placement.gang import Gang, PlacedGang
from cluster.placement.gang_ledger import GangLedger, LiveNode
from cluster.placement.gang_of_model import gang_of_model
from cluster.placement.node_labels import DOMAIN, HOST, live_node, neighbours_adjacent
from cluster.spec.model_spec import ModelSpec


def live_nodes() -> list[LiveNode]:
    """Return the machines with GPUs, with neighbours next to each other.

    Raises:
        ClusterError: Ray does not answer.
    """
    machines = [machine for machine in ray_api.machines() if machine.gpus]
    nodes = [live_node(each.node_id, each.labels, each.gpus, each.free_gpus) for each in machines]
    return neighbours_adjacent(nodes, {each.node_id: host_of(each) for each in machines})


def host_of(machine: ray_api.Machine) -> str:
    """Return a machine's name for people: its host label, or its address."""
    return machine.labels.get(HOST) or machine.address


def standing_gangs() -> dict[str, PlacedGang]:
    """Return the gangs whose placement groups exist, by name; a lost node is "".

    Raises:
        ClusterError: Ray does not answer.
    """
    found = {}
    for standing in ray_api.standing_gangs():
        gang = Gang(**standing.about)
        found[gang.name] = PlacedGang(gang, standing.nodes)
    return found


def has_room_for(model: ModelSpec, spares_per_domain: int) -> bool:
    """Return whether one more replica of a model would find its GPUs now.

    Args:
        model: the model, as one of its pools runs it.
        spares_per_domain: nodes of each domain kept for gangs that lost one.

    Raises:
        ClusterError: Ray does not answer.
    """
    ledger = GangLedger(spares_per_domain)
    ledger.look(live_nodes(), standing_gangs(), 0.0)
    try:
        return isinstance(ledger.placement().place(gang_of_model(model, "one more")), PlacedGang)
    except TopologyError:
        return False


def stand(placed: PlacedGang) -> tuple[ray_api.GangBundles, str]:
    """Make a gang's placement group on its nodes; return it, and the domain of the first rank ("": no label).

    If the nodes share one labelled domain, the placement group requires that domain, so that Ray cannot move the gang
    out of it.

    Raises:
        ClusterError: Ray does not answer.
    """
    domains = {machine.node_id: machine.labels.get(DOMAIN, "") for machine in ray_api.machines()}
    its_domains = {domains.get(node, "") for node in placed.nodes}
    is_in_one = len(its_domains) == 1 and its_domains != {""}
    bundles = ray_api.GangBundles(asdict(placed.gang), placed.nodes, {DOMAIN: "STRICT_PACK"} if is_in_one else {})
    return bundles, domains.get(placed.nodes[0], "")
