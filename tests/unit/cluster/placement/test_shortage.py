"""What can never start on the machines that there are, and why."""

from collections.abc import Sequence

import pytest

from cluster.placement.gang import Gang
from cluster.placement.shortage import ReplicaNeeds, WholeMachine, shortages
from cluster.placement.topology import Node


def machines(*gpus: int, accelerator: str = "", cpus: float = 8) -> list[WholeMachine]:
    """Return machines of one domain with these GPUs each."""
    return [WholeMachine(Node(f"n{n}", "d", "r", count, accelerator), cpus) for n, count in enumerate(gpus)]


def needs(model: str = "m", replicas: int = 1, tensor: int = 1, **more: float | bool | str) -> ReplicaNeeds:
    """Return what `replicas` gangs of `tensor` GPUs need; `more` overrides single fields."""
    gpus = float(more.pop("gpus", tensor))
    gang = Gang(model, model, tensor=tensor, accelerator=str(more.pop("accelerator", "")))
    on_one_node, cpus = bool(more.pop("is_on_one_node", False)), float(more.pop("cpus", 1))
    assert not more
    return ReplicaNeeds(replicas, gang, on_one_node, gpus, cpus)


def test_what_fits_lacks_nothing() -> None:
    """Gangs over several machines, fractions that share a GPU, and models that want none."""
    wanted = [needs("gang", 2, tensor=8), needs("half", 4, gpus=0.5), needs("cpu", gpus=0)]
    assert shortages(wanted, machines(9, 9)) == {}
    assert shortages([needs("cpu", gpus=0)], machines(0)) == {}


@pytest.mark.parametrize(
    ("wanted", "there", "words"),
    [
        (needs(tensor=8), machines(0), "a replica wants 8 GPUs; Ray sees 0 GPUs on 1 machine"),
        (needs(gpus=0.5), machines(0, 0), "a replica wants 0.5 GPUs; Ray sees 0 GPUs on 2 machines"),
        (needs(cpus=0), [], "a replica wants 1 GPU; Ray sees 0 GPUs on 0 machines"),
        (needs(tensor=8), machines(4), "the machines have 4 in all"),
        (needs(tensor=4, is_on_one_node=True), machines(2, 2), "none has more than 2"),
        (needs(accelerator="h100"), machines(8, accelerator="l4"), "1 GPU of the kind h100; the machines"),
        (needs(accelerator="h100"), machines(8), "have no label ray.io/accelerator-type"),
        (needs(replicas=3, tensor=4), machines(4, 4), "1 of 3 replicas would have no place: a replica wants 4 GPUs"),
        (needs(cpus=64), machines(0), "a replica wants 64 CPUs on one machine; the largest has 8"),
    ],
)
def test_what_is_missing_is_told_with_what_there_is(
    wanted: ReplicaNeeds, there: Sequence[WholeMachine], words: str
) -> None:
    """How many GPUs or CPUs, of which kind, where, and how many there are."""
    assert words in shortages([wanted], there)["m"]


def test_models_share_the_machines() -> None:
    """The one that is harder to place comes first; only the other lacks a place."""
    found = shortages([needs("small", tensor=2), needs("large", tensor=8)], machines(8))
    assert list(found) == ["small"]


def test_a_group_does_not_span_domains() -> None:
    """Enough GPUs in all do not help if no domain has them together."""
    apart = [WholeMachine(Node(name, name, name, 4), 8) for name in ("a", "b")]
    assert "needs 8 GPUs in one domain" in shortages([needs(tensor=8)], apart)["m"]


def test_contradicting_labels_are_the_reason() -> None:
    """A domain in two racks is told rather than raised."""
    torn = [WholeMachine(Node("a", "d", "r1", 4), 8), WholeMachine(Node("b", "d", "r2", 4), 8)]
    assert "labels are wrong" in shortages([needs()], torn)["m"]
