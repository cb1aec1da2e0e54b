"""Placement: where gangs go, exactly, and why they can't."""

import pytest

from cluster.errors import TopologyError
from cluster.placement.gang import Gang, PlacedGang, WhyNot
from cluster.placement.placement import Placement
from cluster.placement.report import domain_blast_radius, domain_uses, fragmentation, node_blast_radius
from cluster.placement.topology import Node, Topology


def racks(count: int, *, nodes: int = 18, gpus: int = 4, per_domain: int = 18, accelerator: str = "") -> Topology:
    """Return NVL72-like racks `r0`, `r1`, … of nodes `r0n0`, …; domains `r0d0`, …."""
    return Topology.of(
        Node(f"r{rack}n{node}", f"r{rack}d{node // per_domain}", f"r{rack}", gpus, accelerator)
        for rack in range(count)
        for node in range(nodes)
    )


def gang(name: str, tensor: int, pipeline: int = 1) -> Gang:
    """Return a gang of its own model."""
    return Gang(name, name, tensor, pipeline)


def placed(result: PlacedGang | WhyNot) -> PlacedGang:
    """Return the placement, which there is."""
    assert isinstance(result, PlacedGang), result.message
    return result


def refused(result: PlacedGang | WhyNot) -> WhyNot:
    """Return the reason, which there is."""
    assert isinstance(result, WhyNot)
    return result


def test_the_gangs_of_two_racks_land_where_they_should() -> None:
    """8, 8, 16 and 72 GPUs on two NVL72 racks: the large one gets a rack of its own, the others share."""
    placement = Placement(racks(2))
    outcome = placement.place_all([gang("a", 8), gang("b", 8), gang("c", 16), gang("d", 72)])
    assert not outcome.waiting
    where = {each.gang.name: placement.domains_of(each) for each in outcome.placed}
    assert where == {"d": ["r0d0"], "c": ["r1d0"], "a": ["r1d0"], "b": ["r1d0"]}
    assert placement.placed["c"].nodes == tuple(f"r1n{node}" for node in range(4) for _ in range(4))
    assert placement.placed["a"].nodes == ("r1n4",) * 4 + ("r1n5",) * 4
    placement.check_integrity()


def test_gangs_of_mixed_sizes_fill_one_domain_before_the_next() -> None:
    """Two domains of two nodes of four: 6, 2, 2 and 6 go to the first, the first, the second, the second."""
    placement = Placement(racks(2, nodes=2, per_domain=2))
    results = [placed(placement.place(gang(name, size))) for name, size in (("a", 6), ("b", 2), ("c", 2), ("d", 6))]
    assert [placement.domains_of(each) for each in results] == [["r0d0"], ["r0d0"], ["r1d0"], ["r1d0"]]


def test_the_tightest_domain_is_taken_so_that_large_blocks_stay() -> None:
    """A gang of two goes where two are left, not where 72 are."""
    placement = Placement(racks(2))
    placed(placement.place(gang("a", 70)))
    small = placed(placement.place(gang("b", 2)))
    assert placement.domains_of(small) == ["r0d0"]
    assert isinstance(placement.place(gang("c", 72)), PlacedGang)


def test_boxes_of_a_rack_in_use_are_taken_before_those_of_a_free_one() -> None:
    """Eight-way boxes are domains: all are equally tight, so the fuller rack decides, though it comes second."""
    placement = Placement(racks(2, nodes=4, gpus=8, per_domain=1), lost=["r1n0"])
    assert placement.domains_of(placed(placement.place(gang("a", 8)))) == ["r1d1"]
    assert placement.domains_of(placed(placement.place(gang("b", 8, 2)))) == ["r1d2", "r1d3"]
    assert fragmentation(placement).whole_racks == 1


def test_a_tensor_group_stays_together_on_few_nodes() -> None:
    """Ranks of a group are consecutive; a group that fits one node is on one."""
    placement = Placement(racks(1, nodes=3, per_domain=3))
    placed(placement.place(gang("one", 1)))
    three = placed(placement.place(gang("three", 3)))
    assert three.nodes == ("r0n0",) * 3
    six = placed(placement.place(gang("six", 2, 3)))
    assert six.nodes == ("r0n1", "r0n1", "r0n1", "r0n1", "r0n2", "r0n2")


def test_stages_follow_rank_order_across_neighbouring_domains() -> None:
    """Four stages of eight on boxes of eight: four boxes in a row, each stage on its own."""
    placement = Placement(racks(2, nodes=4, gpus=8, per_domain=1))
    placed(placement.place(gang("x", 8)))
    result = placed(placement.place(gang("p", 8, 4)))
    assert placement.domains_of(result) == ["r1d0", "r1d1", "r1d2", "r1d3"]
    assert result.nodes == tuple(f"r1n{stage}" for stage in range(4) for _ in range(8))


def test_stages_prefer_one_domain_then_few_then_close_ones() -> None:
    """Room for two stages in one domain; for three in two domains rather than three; else where they lie closest."""
    placement = Placement(racks(1, nodes=16, gpus=4, per_domain=4))
    assert placement.domains_of(placed(placement.place(gang("two", 8, 2)))) == ["r0d0"]
    placed(placement.place(gang("half", 8)))
    placement.lose("r0n8")
    placement.lose("r0n9")
    assert placement.domains_of(placed(placement.place(gang("three", 8, 3)))) == ["r0d2", "r0d3"]
    boxes = Placement(racks(1, nodes=4, gpus=8, per_domain=1), lost=["r0n1"])
    assert boxes.domains_of(placed(boxes.place(gang("close", 8, 2)))) == ["r0d2", "r0d3"]


def test_stages_stay_in_one_rack_where_they_can() -> None:
    """Two boxes of a later rack rather than one of this and one of that."""
    placement = Placement(racks(2, nodes=2, gpus=8, per_domain=1), lost=["r0n0"])
    assert placement.domains_of(placed(placement.place(gang("p", 8, 2)))) == ["r1d0", "r1d1"]
    assert placement.domains_of(placed(placement.place(gang("q", 8)))) == ["r0d1"]


def test_a_stage_that_shares_whole_experts_stays_in_one_domain() -> None:
    """Four ranks of two GPUs, two stages: ranks as vLLM numbers them, each stage's eight GPUs in one domain."""
    placement = Placement(racks(2, nodes=2, per_domain=2))
    result = placed(
        placement.place(Gang("moe", "moe", tensor=2, pipeline=2, data=4, experts_whole=True)),
    )
    domain_of = [node[:2] for node in result.nodes]
    stage_of = [(rank // 2) % 2 for rank in range(16)]
    assert domain_of == [f"r{stage}" for stage in stage_of]
    apart = placed(Placement(racks(2, nodes=2, per_domain=2)).place(Gang("dp", "dp", tensor=2, pipeline=2, data=4)))
    assert [node[:2] for node in apart.nodes] == ["r0"] * 8 + ["r1"] * 8


def test_a_gang_of_another_kind_of_gpu_goes_only_there() -> None:
    """Mixed clusters: the kind decides, and what there is instead is named."""
    both = Topology.of(
        [*racks(1, nodes=2, per_domain=2, accelerator="h100").nodes, Node("g", "g", "g", 4, accelerator="gb300")]
    )
    placement = Placement(both)
    assert placed(placement.place(Gang("a", "a", 4, accelerator="gb300"))).nodes == ("g",) * 4
    why = refused(placement.place(Gang("b", "b", 1, accelerator="a100")))
    assert why.message == "needs a100 GPUs; this cluster has gb300, h100"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Gang("a", "a", 8, 2), "needs 16 GPUs; this cluster has no GPU yet"),
        (Gang("a", "a", 1), "needs 1 GPU; this cluster has no GPU yet"),
        (Gang("a", "a", 8, accelerator="gb300"), "needs gb300 GPUs; this cluster has no GPU yet"),
    ],
)
def test_why_not_is_a_whole_sentence_before_there_are_gpus(asked: Gang, message: str) -> None:
    """What is wanted and what there is, also where that is nothing, as while an autoscaler waits for its first node."""
    assert refused(Placement(Topology.of([])).place(asked)).message == message


def test_why_not_names_the_best_domain_and_what_it_has() -> None:
    """In the words that `rackserve status` prints: three racks of 16 GPUs with 2, 3 and 12 free."""
    placement = Placement(racks(3, nodes=4, per_domain=4))
    homes = [
        placement.domains_of(placed(placement.place(gang(name, size))))
        for name, size in (("a", 14), ("b", 13), ("c", 4))
    ]
    assert homes == [["r0d0"], ["r1d0"], ["r2d0"]]
    why = refused(placement.place(gang("x", 16)))
    assert why.message == "needs 16 GPUs in one domain; best domain r2d0 has 12 free"
    assert (why.unit_gpus, why.units, why.room_for, why.best_domain, why.best_free) == (16, 1, 0, "r2d0", 12)


def test_why_not_of_several_groups_says_how_many_would_fit() -> None:
    """Room for three groups of eight where four are needed."""
    placement = Placement(racks(2, nodes=2, gpus=8, per_domain=1))
    placed(placement.place(gang("a", 3)))
    why = refused(placement.place(gang("p", 8, 4)))
    assert why.message == (
        "needs 4 groups of 8 GPUs, each in one domain; there is room for 3 (r0d1: 1, r1d0: 1, r1d1: 1)"
    )
    assert why.room_for == 3


def test_why_not_of_what_no_domain_could_ever_hold() -> None:
    """Even an empty cluster."""
    why = refused(Placement(racks(2)).place(gang("x", 144)))
    assert why.message == "needs 144 GPUs in one domain; the largest domain, r0d0, has 72"


def test_a_gang_begins_on_the_node_of_its_front() -> None:
    """In the domain that would have been taken anyway, and in another as good; a group is on no more nodes for it."""
    placement = Placement(racks(2, nodes=4, per_domain=4))
    first = placed(placement.place(gang("a", 8), driver_node="r1n2"))
    assert first.nodes == ("r1n2",) * 4 + ("r1n0",) * 4
    assert placed(placement.place(gang("b", 2), driver_node="r1n3")).nodes == ("r1n3",) * 2
    assert placed(placement.place(gang("c", 4), driver_node="r1n3")).nodes == ("r1n1",) * 4  # else on two nodes
    placement.check_integrity()


def test_a_front_elsewhere_breaks_up_no_larger_block() -> None:
    """Not a rack nobody uses, nor the largest block; a node without room or that is not here changes nothing."""
    placement = Placement(racks(3, nodes=4, per_domain=4))
    placed(placement.place(gang("a", 12)))
    assert placement.domains_of(placed(placement.place(gang("b", 2), driver_node="r1n1"))) == ["r0d0"]
    placed(placement.place(gang("c", 4)))
    assert placed(placement.place(gang("d", 1), driver_node="r2n1")).nodes == ("r0n3",)
    assert placed(placement.place(gang("e", 1), driver_node="head")).nodes == ("r0n3",)
    assert placed(placement.place(gang("f", 1), driver_node="r0n0")).nodes == ("r1n1",)


def test_data_parallel_ranks_go_where_their_front_is() -> None:
    """They meet there: a whole rack is opened for it."""
    placement = Placement(racks(2, nodes=4, per_domain=4))
    placed(placement.place(gang("a", 4)))
    ranks = placed(placement.place(Gang("moe", "moe", tensor=4, data=2), driver_node="r1n1"))
    assert ranks.nodes == ("r1n1",) * 4 + ("r1n0",) * 4


def test_why_not_mentions_spares_and_lost_nodes() -> None:
    """They are what an operator can do something about."""
    placement = Placement(racks(1, nodes=4, per_domain=4), spares_per_domain=1, lost=["r0n0"])
    why = refused(placement.place(gang("x", 16)))
    assert why.message == (
        "needs 16 GPUs in one domain; best domain r0d0 has 8 free (4 more are kept as spares, 4 are on lost nodes)"
    )


def test_nothing_is_taken_by_a_gang_that_does_not_fit() -> None:
    """Whole or not at all."""
    placement = Placement(racks(2, nodes=2, gpus=8, per_domain=1))
    refused(placement.place(gang("p", 8, 5)))
    assert sum(use.free for use in domain_uses(placement)) == 32
    assert not placement.placed


def test_spares_are_kept_for_gangs_that_lost_a_node() -> None:
    """The last whole node of each domain: ordinary gangs leave it, a rebuilt one takes it."""
    placement = Placement(racks(1, nodes=3, per_domain=3), spares_per_domain=1)
    placed(placement.place(gang("a", 8)))
    refused(placement.place(gang("b", 1)))
    (torn,) = placement.lose("r0n1")
    assert torn.name == "a"
    refused(placement.place(torn))
    assert placed(placement.place(torn, rebuild=True)).nodes == ("r0n0",) * 4 + ("r0n2",) * 4
    placement.restore("r0n1")
    assert placement.rooms["r0d0"].spares == {"r0n1"}
    placement.check_integrity()


def test_a_lost_node_takes_whole_gangs_and_nothing_else() -> None:
    """Others never notice; all GPUs of the torn gang but the lost ones are free again."""
    placement = Placement(racks(2, nodes=4, per_domain=4))
    placement.place_all([gang("a", 8), gang("b", 4), gang("c", 4)])
    before = placement.placed["b"]
    assert [each.name for each in placement.lose(placement.placed["a"].nodes[0])] == ["a"]
    assert placement.placed["b"] is before
    assert sorted(placement.placed) == ["b", "c"]
    (use, _) = domain_uses(placement)
    assert (use.used, use.free, use.lost) == (8, 4, 4)
    assert placement.lose("r1n3") == []
    placement.restore("r1n3")
    placement.restore("r1n3")
    placement.check_integrity()


def test_mistakes_of_the_caller_are_told() -> None:
    """A gang twice, a node that isn't there, spares that leave nothing, sizes that aren't."""
    placement = Placement(racks(1, nodes=2, per_domain=2))
    placed(placement.place(gang("a", 1)))
    with pytest.raises(ValueError, match="'a' is placed already"):
        placement.place(gang("a", 1))
    with pytest.raises(TopologyError, match="no node is called 'x'"):
        placement.lose("x")
    with pytest.raises(TopologyError, match="2 spares leave nothing of domain 'r0d0', of 2 nodes"):
        Placement(racks(1, nodes=2, per_domain=2), spares_per_domain=2)
    with pytest.raises(ValueError, match="at least 1"):
        gang("z", 0)
    with pytest.raises(KeyError):
        placement.release("nobody")


def test_fragmentation_counts_what_large_groups_cannot_use() -> None:
    """Two domains of eight with five free each: ten free, of which two are of no use to groups of four."""
    placement = Placement(racks(2, nodes=2, per_domain=2))
    placement.place_all([gang("a", 3), gang("c", 8)])
    placement.release("c")
    placed(placement.place(gang("b", 7)))
    placement.release("b")
    pieces = fragmentation(placement, 4)
    assert (pieces.free, pieces.largest_block, pieces.stranded) == (13, 8, 1)
    assert pieces.share == pytest.approx(1 / 13)
    assert (pieces.whole_domains, pieces.whole_racks) == (1, 1)
    assert fragmentation(placement).group == 3


def test_blast_radius_names_what_each_loss_takes() -> None:
    """Nodes shared by gangs are worse to lose than nodes of one."""
    placement = Placement(racks(2, nodes=2, per_domain=2))
    placement.place_all([gang("big", 7), gang("small", 1), gang("other", 4)])
    nodes = {radius.name: set(radius.gangs) for radius in node_blast_radius(placement)}
    domains = {radius.name: set(radius.gangs) for radius in domain_blast_radius(placement)}
    assert nodes == {"r0n0": {"big"}, "r0n1": {"big", "small"}, "r1n0": {"other"}}
    assert domains == {"r0d0": {"big", "small"}, "r1d0": {"other"}}
    assert node_blast_radius(placement)[0].name == "r0n1"


def test_the_audit_finds_what_is_wrong() -> None:
    """It isn't there for show."""
    placement = Placement(racks(2, nodes=2, per_domain=2))
    placed(placement.place(gang("a", 4)))
    right = placement.placed["a"]
    for wrong, words in (
        (PlacedGang(right.gang, right.nodes[:3]), "not whole"),
        (PlacedGang(right.gang, ("r0n0", "r0n0", "r0n0", "r1n0")), "spans domains"),
        (PlacedGang(right.gang, ("r0n1",) * 4), "0 used and 0 free"),
        (PlacedGang(Gang("a", "a", 4, accelerator="gb300"), right.nodes), "another kind"),
    ):
        placement.placed["a"] = wrong
        with pytest.raises(AssertionError, match=words):
            placement.check_integrity()
    placement.placed["a"] = right
    placement.check_integrity()
