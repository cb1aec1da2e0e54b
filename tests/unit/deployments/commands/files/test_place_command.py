"""`rackserve place` as people and programs see it, and which gangs a file means."""

import io
import json
import time
from pathlib import Path
from typing import Any, Literal

import pytest
from rich.console import Console

from cluster.errors import SpecError, TopologyError
from cluster.placement.gang import Gang
from cluster.placement.gang_file import GANG_FILE, gangs_of_spec
from cluster.placement.placement import Placement
from cluster.placement.topology import Node, Topology
from cluster.spec import cluster_file
from deployments.commands.files.place import place
from tests.data_files import data_folder

TWO_RACKS = "racks: [{name: rack, count: 2, accelerator: gb300, nodes: 18}]\n"
CLUSTER = """\
models:
  - {name: big, source: org/big, replicas: {min: 1, max: 2}, parallel: {tensor: 8, pipeline: 2}}
  - name: moe
    source: org/moe
    parallel: {tensor: 2, data: 4, expert: 8}
  - {name: one, source: org/one, gpus_per_replica: 2}
  - {name: sim, engine: sim}
  - {name: cpu, source: org/cpu, gpus_per_replica: 0}
  - {name: part, source: org/part, gpus_per_replica: 0.5}
"""
CASES = data_folder() / "cases" / "operators" / "placement"
MILLION_STEPS_BOUND = 4.0
"""Millions of plain Python steps that placing may cost: it costs about 1.5, and cost 7 while quadratic in domains."""


class Asked:
    """Asks `rackserve place` in a folder of its own."""

    def __init__(self, folder: Path, gangs: str, topology: str = TWO_RACKS) -> None:
        self.file, self.topology = folder / "cluster.yaml", folder / "topology.yaml"
        self.file.write_text(gangs)
        self.topology.write_text(topology)

    def shown(
        self, *lose: str, at: Literal["min", "max"] = "max", spares: int | None = None, as_json: bool = False
    ) -> tuple[int, str]:
        """Return the exit code and what people read."""
        console = Console(file=io.StringIO(), width=200)
        code = place(self.file, self.topology, at=at, lose=lose, spares=spares, as_json=as_json, console=console)
        assert isinstance(console.file, io.StringIO)
        return code, console.file.getvalue()


def test_a_cluster_file_means_these_gangs() -> None:
    """As many as it may grow to or starts with; ranks that share experts; none for models that take no whole GPU."""
    spec = cluster_file.load(CLUSTER, "test")
    most, fewest = gangs_of_spec(spec, "max"), gangs_of_spec(spec, "min")
    assert most.gangs == (
        Gang("big#0", "big", tensor=8, pipeline=2),
        Gang("big#1", "big", tensor=8, pipeline=2),
        Gang("moe#0", "moe", tensor=2, data=4, experts_whole=True),
        Gang("one#0", "one", tensor=2),
    )
    assert [gang.name for gang in fewest.gangs] == ["big#0", "moe#0", "one#0"]
    assert most.left_out == (
        "sim: its replicas take no GPU",
        "cpu: its replicas take no GPU",
        "part: its replicas take 0.5 of a GPU each, which Ray packs by itself",
    )


def test_people_see_where_each_gang_goes(tmp_path: Path) -> None:
    """Its nodes, what is left of each domain, fragmentation and the worst loss."""
    code, text = Asked(tmp_path, CLUSTER).shown()
    assert code == 0
    assert "TP 8 × PP 2" in text  # noqa: RUF001 - the field's own sign
    assert "rack-0-n0 x4, rack-0-n1 x4" in text
    assert "102 GPUs free; unused racks 1, domains 1; largest block" in text
    assert "worst domain to lose: rack-0 takes 4 replicas" in text
    assert "left out: sim: its replicas take no GPU" in text


def test_programs_get_everything_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each rank's node, each domain, fragmentation and blast radius."""
    code, _ = Asked(tmp_path, CLUSTER).shown(as_json=True)
    answer = json.loads(capsys.readouterr().out)
    assert code == 0
    big = next(each for each in answer["placed"] if each["gang"] == "big#0")
    assert big["nodes_by_rank"] == [f"rack-0-n{rank // 4}" for rank in range(16)]
    assert big["domains"] == ["rack-0"]
    assert answer["fragmentation"]["free"] == 144 - 16 - 16 - 8 - 2
    assert answer["domains"][0]["used"] == 42
    assert answer["blast_radius"]["domains"][0]["gangs"] == ["big#0", "big#1", "moe#0", "one#0"]
    assert answer["after_loss"] is None
    assert answer["waiting"] == []


def test_what_if_a_node_a_domain_or_a_rack_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What stood there is torn down and rebuilt elsewhere, or waits, and says for what."""
    asked = Asked(tmp_path, "gangs: [{name: a, tensor: 72}, {name: b, tensor: 8}]")
    code, text = asked.shown("rack-1-n0")
    assert code == 0
    assert "After losing rack-1-n0: torn down b#0" in text
    assert "rack-1-n1 x4, rack-1-n2 x4" in text
    code, _ = asked.shown("rack-0", as_json=True)
    after = json.loads(capsys.readouterr().out)["after_loss"]
    assert code == 1
    assert after["torn_down"] == ["a#0"]
    assert after["waiting"] == [
        {
            "gang": "a#0",
            "model": "a",
            "pool": "",
            "why_not": "needs 72 GPUs in one domain; best domain rack-1 has 64 free",
            "gpus_in_one_domain": 72,
            "groups": 1,
            "room_for_groups": 0,
            "best_domain": "rack-1",
            "best_free": 64,
        }
    ]


def test_gangs_without_a_place_wait_and_the_exit_code_says_so(tmp_path: Path) -> None:
    """In the words of the status command."""
    code, text = Asked(tmp_path, "gangs: [{name: a, tensor: 40, replicas: 3}]").shown()
    assert code == 1
    assert "waits: a#2 needs 40 GPUs in one domain; best domain rack-0 has 32 free" in text


def test_machines_without_a_gpu_are_no_place(tmp_path: Path) -> None:
    """A cluster that has none yet is told so; beside others they are left out."""
    gangs = "gangs: [{name: big, tensor: 8, pipeline: 2}]"
    bare = "nodes: [{name: cpu-1, rack: r, domain: d, gpus: 0}]"
    code, text = Asked(tmp_path, gangs, bare).shown()
    assert code == 1
    assert "waits: big#0 needs 16 GPUs; this cluster has no GPU yet" in text
    mixed = "nodes: [{name: cpu-1, rack: r, gpus: 0}, {name: a, rack: r, gpus: 16}]"
    code, text = Asked(tmp_path, gangs, mixed).shown()
    assert code == 0
    assert "cpu-1" not in text


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no {CASES}: $RACKSERVE_DATA names the folder of shared data")
@pytest.mark.parametrize(
    ("gangs", "topology", "told"),
    [
        ("hgx_16", "hgx_true", "waits: r1#0 needs 16 GPUs in one domain; the largest domain, hgx-0, has 8"),
        ("hgx_gangs", "hgx_true", "waits: chat#0 needs 4 GPUs in one domain; best domain hgx-0 has 2 free"),
        ("no_gpu_message", "no_gpu_topology", "waits: big#0 needs 16 GPUs; this cluster has no GPU yet"),
    ],
)
def test_operators_machines(gangs: str, topology: str, told: str, tmp_path: Path) -> None:
    """Two boxes are two domains, so no group is dealt over them, and it is said what is lacking."""
    texts = [(CASES / f"{name}.yaml").read_text(encoding="utf-8") for name in (gangs, topology)]
    code, text = Asked(tmp_path, *texts).shown()
    assert code == 1
    assert told in text


def test_spares_come_from_the_file_or_the_option(tmp_path: Path) -> None:
    """The option wins; spares that leave nothing are a mistake in the file."""
    asked = Asked(tmp_path, "gangs: [{name: a, tensor: 72}]", TWO_RACKS + "spares_per_domain: 1\nlost: [rack-1-n0]\n")
    code, text = asked.shown()
    assert code == 1
    assert "best domain rack-0 has 68 free (4 more are kept as spares)" in text
    assert asked.shown(spares=0)[0] == 0
    with pytest.raises(SpecError, match="18 spares leave nothing of domain 'rack-0'"):
        asked.shown(spares=18)


def test_a_cluster_may_start_with_fewer(tmp_path: Path) -> None:
    """`--at min`."""
    asked = Asked(tmp_path, CLUSTER)
    assert "big#1" in asked.shown()[1]
    assert "big#1" not in asked.shown(at="min")[1]


@pytest.mark.parametrize(
    ("gangs", "topology", "words"),
    [
        ("models: []", TWO_RACKS, r"models: needs at least one"),
        ("gangs: []", TWO_RACKS, r"gangs: needs at least one"),
        ("gangs: [{name: a, tenser: 4}]", TWO_RACKS, "did you mean 'tensor'"),
        ("gangs: [{name: a}, {name: a}]", TWO_RACKS, r"already the name of gangs\[0\]"),
        ("gangs: [{name: a", TWO_RACKS, "not YAML"),
        ("gangs: [{name: a}]", "racks: []", "list racks or nodes"),
        ("gangs: [{name: a}]", TWO_RACKS + "lost: [rack-7]", "no node, domain or rack is called 'rack-7'"),
        ("gangs: [{name: a}]", "nodes: [{name: a, rack: r, gpus: 1}, {name: a, rack: r, gpus: 1}]", "two nodes"),
    ],
)
def test_a_wrong_file_is_told(tmp_path: Path, gangs: str, topology: str, words: str) -> None:
    """Which of the two, where and what."""
    with pytest.raises(SpecError, match=words):
        Asked(tmp_path, gangs, topology).shown()


def test_losing_what_is_not_there_is_told(tmp_path: Path) -> None:
    """A typing error must not look like good news."""
    with pytest.raises(TopologyError, match="no node, domain or rack is called 'rack-9'"):
        Asked(tmp_path, "gangs: [{name: a}]").shown("rack-9")


def test_a_gang_file_lists_gangs_of_any_shape() -> None:
    """Replicas are numbered; everything else is as written."""
    data: dict[str, Any] = {
        "gangs": [
            {"name": "r1", "tensor": 2, "pipeline": 3, "data": 4, "experts_whole": True, "replicas": 2},
            {"name": "none", "replicas": 0},
            {"name": "kind", "accelerator": "h100"},
        ]
    }
    gangs = list(GANG_FILE.from_data(data, "test").each_gang())
    assert gangs == [
        Gang("r1#0", "r1", 2, 3, 4, experts_whole=True),
        Gang("r1#1", "r1", 2, 3, 4, experts_whole=True),
        Gang("kind#0", "kind", accelerator="h100"),
    ]


def million_steps_s() -> float:
    """Return the CPU seconds that a million plain Python steps take here and now: the yardstick for a slow machine."""
    counts = dict.fromkeys(range(1000), 0)
    started_s = time.process_time()
    for step in range(1_000_000):
        counts[step % 1000] += 1
    return time.process_time() - started_s


@pytest.mark.parametrize("nodes_per_domain", [1, 18, 1000])
def test_a_thousand_nodes_and_two_hundred_gangs_take_few_steps(nodes_per_domain: int) -> None:
    """Whatever the domains; `make bench-placement` bounds the seconds."""
    topology = Topology.of(
        Node(f"n{node}", f"d{node // nodes_per_domain}", f"r{node // 18}" if nodes_per_domain < 1000 else "r", 4)
        for node in range(1000)
    )
    gangs = [Gang(f"g{number}", "m", (1, 2, 4)[number % 3], (1, 2, 8, 16)[number % 4]) for number in range(200)]
    ratios = []
    for _ in range(3):
        step_s = million_steps_s()
        placement = Placement(topology)
        started_s = time.process_time()
        outcome = placement.place_all(gangs)
        ratios.append((time.process_time() - started_s) / step_s)
        assert len(outcome.placed) == 200
    assert min(ratios) <= MILLION_STEPS_BOUND, ratios
