"""What a living cluster grants to gangs, and what it says of those that wait."""

from cluster.placement.gang import Gang, PlacedGang, WhyNot
from cluster.placement.gang_ledger import GRANT_S, UNHEARD_S, GangLedger, LiveNode, Request, WantedGpus
from cluster.placement.topology import Node


def racks(*, free: int = 4, group: str = "") -> list[LiveNode]:
    """Return two racks of two nodes with four GPUs each."""
    return [
        LiveNode(Node(f"rack-{rack}-n{number}", f"rack-{rack}", f"rack-{rack}", 4), free, group)
        for rack in range(2)
        for number in range(2)
    ]


def ledger_of(nodes: list[LiveNode], spares: int = 0) -> GangLedger:
    """Return a ledger that has seen `nodes`."""
    ledger = GangLedger(spares)
    ledger.look(nodes, {}, 0.0)
    return ledger


def asked(ledger: GangLedger, name: str, tensor: int, now_s: float = 0.0) -> PlacedGang | WhyNot:
    """Ask for a gang of one tensor group."""
    return ledger.ask(Request(Gang(name, name.partition("#")[0], tensor=tensor)), now_s)


def test_a_gang_that_waits_hears_what_is_missing_and_the_autoscaler_which_machines() -> None:
    """The best domain by name, and GPUs of the group it is of: those in use and those that are wanted."""
    ledger = ledger_of(racks(group="gb300"))
    assert isinstance(asked(ledger, "a#1", 6), PlacedGang)
    why = asked(ledger, "b#1", 16)
    assert isinstance(why, WhyNot)
    assert why.message == "needs 16 GPUs in one domain; the largest domain, rack-0, has 8"
    why = asked(ledger, "c#1", 8)
    assert isinstance(why, PlacedGang)
    why = asked(ledger, "d#1", 4)
    assert isinstance(why, WhyNot)
    assert why.message == "needs 4 GPUs in one domain; best domain rack-0 has 2 free"
    assert ledger.wanted() == [
        WantedGpus(6),
        WantedGpus(8),
        WantedGpus(16, "gb300"),
        WantedGpus(4, "gb300"),
    ]


def test_what_it_asks_for_itself_names_the_machines() -> None:
    """A model's own node group and kind of GPU win; GPUs of others count too; nobody waits: nothing is wanted."""
    ledger = ledger_of(racks(free=3))
    request = Request(Gang("big#1", "big", tensor=72, accelerator="GB300"), "racks")
    assert isinstance(ledger.ask(request, 0.0), WhyNot)
    assert ledger.wanted() == [WantedGpus(4), WantedGpus(72, "racks", "GB300")]
    ledger.forget("big#1")
    assert ledger.wanted() == []


def test_a_large_gang_that_waits_goes_before_small_ones() -> None:
    """When room comes, all that wait are weighed together, the hardest to place first."""
    nodes = racks()
    ledger = ledger_of(nodes[:1])
    assert isinstance(asked(ledger, "small#1", 5), WhyNot)
    assert isinstance(asked(ledger, "large#1", 8), WhyNot)
    ledger.look(nodes[:2], {}, 1.0)
    assert isinstance(asked(ledger, "small#1", 5, 1.0), WhyNot)
    large = asked(ledger, "large#1", 8, 1.0)
    assert isinstance(large, PlacedGang)
    assert large.nodes == ("rack-0-n0",) * 4 + ("rack-0-n1",) * 4


def test_only_a_gang_that_lost_a_node_takes_the_spare() -> None:
    """A gang of 4 and a spare a rack: a third waits; when a node dies, its gang is rebuilt on a spare."""
    nodes = racks()
    ledger = ledger_of(nodes, spares=1)
    first, second = asked(ledger, "m#1", 4), asked(ledger, "m#2", 4)
    assert isinstance(first, PlacedGang)
    assert isinstance(second, PlacedGang)
    assert isinstance(asked(ledger, "other#1", 4), WhyNot)
    standing = {"m#1": first, "m#2": second}
    free = [LiveNode(live.node, 0 if live.node.name in first.nodes + second.nodes else 4) for live in nodes]
    ledger.look(free, standing, 1.0)
    alive = [live for live in free if live.node.name not in first.nodes]
    ledger.look(alive, {"m#2": second}, 2.0)
    assert isinstance(asked(ledger, "other#1", 4, 2.0), WhyNot)
    rebuilt = asked(ledger, "m#3", 4, 2.0)
    assert isinstance(rebuilt, PlacedGang)
    assert not set(rebuilt.nodes) & {*first.nodes, *second.nodes}
    assert isinstance(asked(ledger, "m#4", 4, 2.0), WhyNot)  # one gang was lost, not two


def test_a_gang_begins_where_its_replica_is() -> None:
    """When it asks, and when it has waited; a replica on the head, which has no GPU, changes nothing."""
    nodes = racks()
    ledger = ledger_of(nodes[:1])
    request = Request(Gang("a#1", "a", tensor=8), driver_node="rack-0-n1")
    assert isinstance(ledger.ask(request, 0.0), WhyNot)
    ledger.look(nodes, {}, 1.0)
    first = ledger.ask(request, 1.0)
    assert isinstance(first, PlacedGang)
    assert first.nodes == ("rack-0-n1",) * 4 + ("rack-0-n0",) * 4
    second = ledger.ask(Request(Gang("b#1", "b", tensor=4), driver_node="head"), 1.0)
    assert isinstance(second, PlacedGang)
    assert second.nodes == ("rack-1-n0",) * 4


def test_a_machine_that_starts_again_is_not_counted_twice() -> None:
    """It has a new name; its domain is as large as before, and one without machines is forgotten."""
    nodes = racks()
    ledger = ledger_of(nodes)
    ledger.look(nodes[1:], {}, 1.0)
    assert ledger.placement().topology.gpus == 16
    assert ledger.placement().rooms["rack-0"].lost == {"rack-0-n0"}
    again = LiveNode(Node("rack-0-again", "rack-0", "rack-0", 4), 4)
    ledger.look([*nodes[1:], again], {}, 2.0)
    assert {node.name for node in ledger.placement().topology.domains["rack-0"].nodes} == {"rack-0-n1", "rack-0-again"}
    ledger.look(nodes[2:], {}, 3.0)
    assert ledger.placement().topology.domains.keys() == {"rack-1"}


def test_a_grant_that_comes_to_nothing_and_a_replica_that_died_waiting_are_forgotten() -> None:
    """Their replicas are never heard of again."""
    ledger = ledger_of(racks())
    assert isinstance(asked(ledger, "a#1", 8), PlacedGang)
    assert isinstance(asked(ledger, "b#1", 16), WhyNot)
    ledger.look(racks(), {}, UNHEARD_S + 0.1)
    assert not ledger.waiting
    assert ledger.placed
    ledger.look(racks(), {}, GRANT_S)
    assert not ledger.placed


def test_a_gang_that_stood_and_ended_between_two_looks_gives_its_gpus_back() -> None:
    """Nobody asked meanwhile, so nobody looked; it said itself that it stood."""
    ledger = ledger_of(racks()[:2])
    assert isinstance(asked(ledger, "a#1", 8), PlacedGang)
    assert isinstance(asked(ledger, "a#2", 8), WhyNot)
    ledger.stands("a#1")
    ledger.look(racks()[:2], {}, 1.0)
    assert isinstance(asked(ledger, "a#2", 8, 1.0), PlacedGang)


def test_labels_that_contradict_each_other_are_said_so() -> None:
    """A domain in two racks: nothing can be placed, and who waits hears why."""
    nodes = [LiveNode(Node("n0", "d", "rack-0", 4), 4), LiveNode(Node("n1", "d", "rack-1", 4), 4)]
    why = asked(ledger_of(nodes), "m#1", 4)
    assert isinstance(why, WhyNot)
    assert "domain 'd' is in two racks" in why.message
