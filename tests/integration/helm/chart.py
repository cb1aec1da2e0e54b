"""The chart as real Helm binaries render it."""

import copy
import functools
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
CHART = ROOT / "helm" / "rackserve"
BINARIES = ROOT / ".cache" / "helm"
HELM_VERSIONS = ("3.17", "4.1")
SCENARIOS = tuple(sorted((CHART / "ci").glob("*-values.yaml")))
ALL_VALUES = (*SCENARIOS, CHART / "values-cpu.yaml", CHART / "values.yaml")

Manifest = dict[str, Any]


def helm(version: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a Helm binary."""
    command = [str(BINARIES / version / "helm"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def render_text(version: str, values: Path, *settings: str) -> str:
    """Return what `helm template` writes for a values file and `--set` arguments.

    Raises:
        AssertionError: it failed; with what Helm said.
    """
    sets = [part for setting in settings for part in ("--set", setting)]
    done = helm(version, "template", "demo", CHART, "--namespace", "llm", "-f", values, *sets)
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def render(version: str, values: Path, *settings: str) -> Sequence[Manifest]:
    """Return the manifests that `helm template` writes."""
    return [manifest for manifest in yaml.safe_load_all(render_text(version, values, *settings)) if manifest]


def scenario(name: str) -> Path:
    """Return a values file under ci/ by its name."""
    return CHART / "ci" / f"{name}-values.yaml"


def ray_service(values: Path, *settings: str) -> Manifest:
    """Return the RayService of a values file; a copy."""
    (found,) = (manifest for manifest in render("4.1", values, *settings) if manifest["kind"] == "RayService")
    copy: Manifest = json.loads(json.dumps(found))
    return copy


def of_kind(kind: str, values: Path, *settings: str) -> list[Manifest]:
    """Return the manifests of one kind."""
    return [manifest for manifest in render("4.1", values, *settings) if manifest["kind"] == kind]


def worker_groups(service: Manifest) -> dict[str, Manifest]:
    """Return a RayService's worker groups by name."""
    return {group["groupName"]: group for group in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]}


def pod_templates(values: Path, *settings: str) -> dict[str, Manifest]:
    """Return the pods' templates by group, `head` the head's; gateways are `gateway`, whatever runs them. A copy."""
    service = ray_service(values, *settings)
    templates = {name: group["template"] for name, group in worker_groups(service).items()}
    templates["head"] = service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]
    for deployment in of_kind("Deployment", values, *settings):
        templates["gateway"] = copy.deepcopy(deployment["spec"]["template"])
    return templates


def pods(values: Path, *settings: str) -> dict[str, Manifest]:
    """Return the pods' specs by group, as `pod_templates`."""
    return {name: template["spec"] for name, template in pod_templates(values, *settings).items()}
