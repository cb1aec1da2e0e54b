"""What `rackserve scale` understands, before any cluster is asked."""

import pytest

from cluster.errors import SpecError
from cluster.spec import cluster_file
from cluster.spec.model_parts.scaling_spec import ReplicaCount
from deployments.commands.operate.scale import count_of, pool_of, scaled_elsewhere, shown, with_replicas


@pytest.mark.parametrize(
    ("text", "least", "most", "words"),
    [("3", 3, 3, "3"), ("1:4", 1, 4, "1 to 4"), ("0:2", 0, 2, "0 to 2"), ("2:2", 2, 2, "2")],
)
def test_a_number_or_a_range(text: str, least: int, most: int, words: str) -> None:
    """As `replicas` of the cluster file."""
    count = count_of(text)
    assert count == ReplicaCount(min=least, max=most)
    assert shown(count) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0", "0:1 lets it go to none"),
        ("3:1", "must not be above max"),
        ("many", "a number such as 3"),
        ("-1", "a number such as 3"),
        ("5000", "4096"),
        ("1:", "a range such as 1:4"),
    ],
)
def test_anything_else_is_told(text: str, words: str) -> None:
    """With what would be right."""
    with pytest.raises(SpecError, match=words):
        count_of(text)


def test_only_the_models_replicas_change() -> None:
    """Everything else of the file stays, so nothing else is deployed anew."""
    spec = cluster_file.load("models: [{name: a, engine: sim}, {name: b, engine: sim, replicas: 2}]", "f")
    scaled = with_replicas(spec, "a", "", ReplicaCount(min=4, max=4))
    assert [model.replicas.min for model in scaled.models] == [4, 2]
    assert scaled.model("b") == spec.model("b")
    assert scaled.gateway == spec.gateway


@pytest.mark.parametrize(
    ("model", "text", "right"),
    [
        ("chat", "3", "--set 'models.chat.min=3,models.chat.max=3'"),
        ("Qwen2.5-7B", "0:4", r"--set 'models.Qwen2\.5-7B.min=0,models.Qwen2\.5-7B.max=4'"),
    ],
)
def test_what_helm_deploys_is_scaled_by_its_values(model: str, text: str, right: str) -> None:
    """The message has the command to write, dots in the model's name escaped as Helm wants them."""
    told = scaled_elsewhere("llm", model, "", count_of(text))
    assert right in told
    assert told.startswith("llm was not deployed by `rackserve serve` or `up`")


POOLS = (
    "models: [{name: a, engine: sim, replicas: 2, pools: [{name: x}, {name: y, replicas: 3}]}, {name: b, engine: sim}]"
)


def test_only_the_pools_replicas_change() -> None:
    """The other pool keeps its number, also where that is the model's."""
    spec = cluster_file.load(POOLS, "f")
    for pool, counts in (("x", [4, 3, 1]), ("y", [2, 4, 1])):
        scaled = with_replicas(spec, "a", pool, ReplicaCount(min=4, max=4))
        assert [each.replicas.min for each in scaled.in_pools()] == counts


def test_a_pool_must_be_named_where_there_are_several() -> None:
    """With the names that there are; a name where there are no pools is told too."""
    spec = cluster_file.load(POOLS, "f")
    assert pool_of(spec.model("a"), "y").label == "a:y"
    assert pool_of(spec.model("b"), "").label == "b"
    with pytest.raises(SpecError, match=r"--pool: a has the pools x, y; say which"):
        pool_of(spec.model("a"), "")
    with pytest.raises(SpecError, match=r"a has no pool 'z'; there is x, y"):
        pool_of(spec.model("a"), "z")
    with pytest.raises(SpecError, match=r"b has no pools; leave it out"):
        pool_of(spec.model("b"), "x")
