"""Scaling through values leaves the running pods alone: nothing that KubeRay would build a second cluster for."""

import shlex
from pathlib import Path

import pytest
import yaml

from deployments.commands.operate.scale import count_of, scaled_elsewhere
from tests.integration.helm.chart import Manifest, ray_service, scenario, worker_groups
from tests.integration.helm.kuberay_rules import updates_in_place, upgrade_relevant

SCALINGS = {
    "nodes of a rack": ("gb300-two-racks", ["scale.rack-0.replicas=12"]),
    "gateways": ("gb300-two-racks", ["scale.gateway.replicas=7"]),
    "bounds of Ray's autoscaler": ("gb200-autoscaler", ["scale.rack-0.min=1", "scale.rack-0.max=16"]),
    "replicas of a model": ("gb300-two-racks", ["models.r1.min=2", "models.r1.max=6"]),
    "replicas of a pool": ("pools", ["models.chat.pools.decode.max=9"]),
    "a model to zero": ("gpu", ["models.chat.min=0"]),
    "everything at once": ("gb200-autoscaler", ["scale.burst.replicas=3", "scale.gateway.max=9", "models.chat.max=40"]),
}


def cluster_file(service: Manifest) -> Manifest:
    """Return the cluster file inside a RayService."""
    (application,) = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    file: Manifest = application["args"]["spec"]
    return file


@pytest.mark.parametrize("name", SCALINGS)
def test_scaling_stays_outside_the_upgrade_hash(name: str) -> None:
    """The RayService changes, and not in what KubeRay's hash covers."""
    values, settings = SCALINGS[name]
    before, after = ray_service(scenario(values)), ray_service(scenario(values), *settings)
    assert before != after
    assert upgrade_relevant(before) == upgrade_relevant(after)


def test_a_scaled_group_has_the_asked_nodes() -> None:
    """`scale.<group>` wins over the list, group by group; gateways follow their pods, so nothing else says how many."""
    service = ray_service(scenario("gb300-two-racks"), "scale.rack-0.replicas=12", "scale.gateway.replicas=7")
    groups = worker_groups(service)
    for name, nodes in (("rack-0", 12), ("rack-1", 9), ("gateway", 7)):
        assert [groups[name][key] for key in ("replicas", "minReplicas", "maxReplicas")] == [nodes] * 3
    unscaled = ray_service(scenario("gb300-two-racks"))
    assert service["spec"]["serveConfigV2"] == unscaled["spec"]["serveConfigV2"]


@pytest.mark.parametrize(
    ("settings", "replicas"),
    [
        ([], {"min": 2, "max": 2}),
        (["models.chat.max=8"], {"min": 2, "max": 8}),
        (["models.chat.min=0"], {"min": 0, "max": 2}),
        (["models.chat.min=1", "models.chat.max=1"], {"min": 1, "max": 1}),
    ],
)
def test_a_scaled_model_has_the_asked_bounds(settings: list[str], replicas: dict[str, int]) -> None:
    """`models.<name>` wins over the cluster file, bound by bound, zero included."""
    asked = cluster_file(ray_service(scenario("gpu"), *settings))["models"][0]["replicas"]
    assert (asked if isinstance(asked, dict) else {"min": asked, "max": asked}) == replicas


def test_what_the_scale_command_tells_scales_the_model(tmp_path: Path) -> None:
    """`rackserve scale` names the values that Helm takes, also for a model with a dot in its name."""
    told = scaled_elsewhere("llm", "Qwen2.5-7B", "", count_of("2:5"))
    _, settings = shlex.split(told[told.index("--set") : told.index("`, with")])
    values = yaml.safe_load(scenario("gpu").read_text())
    values["clusterFile"]["models"][0]["name"] = "Qwen2.5-7B"
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    (asked, *_) = cluster_file(ray_service(file, settings))["models"]
    assert asked["replicas"] == {"min": 2, "max": 5}


def test_a_scaled_pool_has_the_asked_bounds() -> None:
    """`models.<name>.pools.<pool>` wins over the pool, and that over its model; the other pool is as the file says."""
    asked = cluster_file(ray_service(scenario("pools"), "models.chat.pools.decode.max=8"))["models"][0]
    assert {pool["name"]: pool["replicas"] for pool in asked["pools"]} == {
        "prefill": {"min": 1, "max": 6},
        "decode": {"min": 2, "max": 8},
    }
    assert asked["replicas"] == 2
    all_of_them = cluster_file(ray_service(scenario("pools"), "models.chat.max=5"))["models"][0]
    assert all_of_them["replicas"] == {"min": 2, "max": 5}
    assert "replicas" not in all_of_them["pools"][1]


def test_a_rack_appended_joins_the_running_cluster(tmp_path: Path) -> None:
    """A group appended at the end is taken in place; one put first is not, which is why the list is ordered."""
    values = yaml.safe_load(scenario("gb300-rack").read_text())
    rack = {"name": "rack-1", "profile": "gb300", "replicas": 18}
    before = ray_service(scenario("gb300-rack"))
    for place, in_place in (("end", True), ("start", False)):
        groups = [*values["groups"], rack] if place == "end" else [rack, *values["groups"]]
        file = tmp_path / f"{place}.yaml"
        file.write_text(yaml.safe_dump({**values, "groups": groups}))
        assert updates_in_place(before, ray_service(file)) is in_place


def test_an_image_is_within_the_hash() -> None:
    """The rule this chart's default rests on: another image would ask for a second cluster, so racks say None."""
    before, after = ray_service(scenario("gb300-rack")), ray_service(scenario("gb300-rack"), "image.tag=next")
    assert upgrade_relevant(before) != upgrade_relevant(after)
    assert before["spec"]["upgradeStrategy"] == {"type": "None"}


@pytest.mark.parametrize(
    "change",
    ["clusterFile.gateway.idle_timeout_s=20", "clusterFile.models[0].name=a,clusterFile.models[0].source=b"],
)
def test_the_cluster_file_is_outside_the_hash(change: str) -> None:
    """Models and gateways roll inside the running cluster."""
    before, after = ray_service(scenario("gb300-rack")), ray_service(scenario("gb300-rack"), change)
    assert before["spec"]["serveConfigV2"] != after["spec"]["serveConfigV2"]
    assert upgrade_relevant(before) == upgrade_relevant(after)
