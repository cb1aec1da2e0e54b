"""Pods ask for the room that weights take, and the chart refuses room that is not there."""

from pathlib import Path

import pytest

from deployments.chart.weights import weights_text
from tests.integration.helm.chart import CHART, helm, pods, scenario

R1 = "clusterFile.models[0].name=r1,clusterFile.models[0].source=deepseek-ai/DeepSeek-R1"
HGX = "groups[0].name=a,groups[0].profile=hgx"
UNKNOWN = "clusterFile.models[0].name=a,clusterFile.models[0].source=org/other"


def room(values: Path, *settings: str) -> tuple[str | None, str | None]:
    """Return the bound of the only group's cache, and what its pods request of the node's disk."""
    (pod,) = (pod for name, pod in pods(values, *settings).items() if name not in {"head", "gateway"})
    (cache,) = (volume for volume in pod["volumes"] if volume["name"] == "model-cache")
    requests = pod["containers"][0]["resources"].get("requests", {})
    return cache.get("emptyDir", {}).get("sizeLimit"), requests.get("ephemeral-storage")


def test_the_weights_are_the_planners() -> None:
    """`schema/weights.json` is what the code makes it."""
    assert (CHART / "schema" / "weights.json").read_text() == weights_text(), "run `make helm-docs`"


@pytest.mark.parametrize(
    ("settings", "bound", "request_"),
    [
        ([R1, HGX], "669Gi", "669Gi"),
        ([], "11Gi", "11Gi"),
        ([R1, HGX, "modelCache.size=2Ti"], "2Ti", "669Gi"),
        ([UNKNOWN], "200Gi", None),
        ([UNKNOWN.replace("org/other", "org/Chat-0.5B-v480B-A35B-it")], "949Gi", None),
        ([UNKNOWN, r"modelCache.weights.org/other=300G"], "290Gi", "290Gi"),
        (["modelCache.size=5Gi"], "5Gi", "5Gi"),
        ([R1, HGX, "modelCache.type=hostPath"], None, None),
    ],
    ids=[
        "planned",
        "small",
        "more than needed",
        "unknown",
        "guessed by name",
        "told",
        "less than kernels may take",
        "on the node",
    ],
)
def test_pods_have_and_ask_for_the_room_that_is_needed(
    settings: list[str], bound: str | None, request_: str | None
) -> None:
    """Weights as planned and room for kernels; what is not known is bounded as ever and not asked for."""
    assert room(CHART / "values.yaml", *settings) == (bound, request_)


def test_a_draft_needs_room_beside_its_model() -> None:
    """Two checkpoints are downloaded."""
    first = "clusterFile.models[0]"
    settings = [
        f"{first}.name=a,{first}.source=meta-llama/Llama-3.3-70B-Instruct,{first}.speculative.method=draft_model",
        f"{first}.speculative.model=meta-llama/Llama-3.1-8B-Instruct",
    ]
    bound, _ = room(CHART / "values.yaml", *settings)
    alone, _ = room(CHART / "values.yaml", settings[0], f"{first}.speculative.model=org/small")
    assert (bound, alone) == ("164Gi", "200Gi")


@pytest.mark.parametrize("version", ["3.17", "4.1"])
def test_room_that_is_not_there_is_told(version: str) -> None:
    """The size, the model, what it takes, and what would be right."""
    done = helm(version, "template", "demo", CHART, "--set", f"{R1},{HGX},modelCache.size=200Gi")
    assert done.returncode != 0
    assert "modelCache.size: 200Gi, but deepseek-ai/DeepSeek-R1 takes 659Gi on each node, and its pods would be" in (
        done.stderr
    )


def test_a_claim_is_not_the_pods_own_disk() -> None:
    """Weights on a claim ask for no room of the node."""
    assert room(scenario("gb300-rack")) == (None, None)
