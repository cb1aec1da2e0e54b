"""`rackserve validate`: checks a file that an operator wrote, by the rules of the command that reads it."""

from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel
from rich.console import Console
from rich.text import Text

from cluster.placement.gang_file import GANG_FILE
from cluster.placement.topology_file import TOPOLOGY_FILE, TopologyFile
from cluster.planning.plan_file import PLAN_FILE, PlanFile
from cluster.spec.checked_yaml import FileKind
from cluster.spec.cluster_file import CLUSTER_FILE
from cluster.spec.cluster_spec import ClusterSpec
from cluster.spec.model_parts.scaling_spec import ReplicaCount
from cluster.spec.model_spec import ModelSpec
from cluster.spec.role import Role
from cluster.spec.servers_file import SERVERS_FILE
from cluster.spec.tenants_file import TENANTS_FILE
from cluster.spec.yaml_tree import read_tree
from deployments.commands.files.place import empty_placement
from deployments.commands.files.plan import draft_shape_of, shape_of
from deployments.launch.preflight import check_here
from deployments.launch.ray_up_file import LaunchFile
from deployments.process.read_file import read_text
from deployments.replica.read_spec import read_spec
from deployments.twin.scenario_file import SCENARIO_FILE

KINDS: Final[tuple[tuple[str, FileKind[Any]], ...]] = (
    ("load", SCENARIO_FILE),
    ("events", SCENARIO_FILE),
    ("models", CLUSTER_FILE),
    ("tenants", TENANTS_FILE),
    ("servers", SERVERS_FILE),
    ("gangs", GANG_FILE),
    ("workload", PLAN_FILE),
    ("racks", TOPOLOGY_FILE),
    ("nodes", TOPOLOGY_FILE),
)
"""Each kind of file with a key that only it has at its top."""


def validate(file: Path, *, elsewhere: bool, console: Console) -> None:
    """Check a file and print what it is.

    Args:
        file: the file.
        elsewhere: it is for other machines, so what it names is not looked for here.
        console: where the summary goes.

    Raises:
        SpecError: the file cannot be read or has mistakes; lists all of them.
    """
    text = read_text(file)
    kind = _kind_of(text)
    if kind is CLUSTER_FILE:
        summary = _cluster(file, elsewhere=elsewhere)
    else:
        summary = _summary(kind.load(text, str(file)), file)
    console.print(Text(f"OK: {file} is a {kind.name}: {summary}"), soft_wrap=True)


def _kind_of(text: str) -> FileKind[Any]:
    """Return the kind of file that has the keys of `text`; a file with none of them is taken for a cluster file."""
    try:
        data = read_tree(text).data
    except yaml.YAMLError:
        data = None  # its reader reports what is wrong, and where
    keys: dict[str, Any] = data if isinstance(data, dict) else {}
    found = next((kind for key, kind in KINDS if key in keys), None)
    if found is not None:
        return found
    most = max((kind for _, kind in KINDS), key=lambda kind: len(keys.keys() & kind.root.model_fields.keys()))
    return most if keys.keys() & most.root.model_fields.keys() else CLUSTER_FILE


def _cluster(file: Path, *, elsewhere: bool) -> str:
    spec = read_spec(file)
    if spec.launch is not None:
        launch = LaunchFile(file)
        if not elsewhere:
            launch.check_this_machine()
    elif not elsewhere:
        check_here(spec, str(file))
    return _of_cluster(spec)


def _of_cluster(spec: ClusterSpec) -> str:
    parts = [f"{spec.cluster.name} serves {_count(len(spec.models), 'model')}"]
    for model in spec.models:
        pools = [f"{_role(pool)}{_replicas(pool.replicas)}" for pool in model.in_pools()]
        parts.append(f"{model.name} ({', '.join(pools)})")
    if spec.gateway.tenants:
        parts.append(_count(len(spec.gateway.tenants), "tenant"))
    if spec.launch is not None:
        parts.append(f"launched by {spec.launch.provider}")
    return ", ".join(parts)


def _role(pool: ModelSpec) -> str:
    if not pool.pool:
        return ""
    role = f" ({pool.role})" if pool.role is not Role.BOTH else ""
    return f"pool {pool.pool}{role}: "


def _replicas(count: ReplicaCount) -> str:
    return f"{count.min} to {count.max} replicas" if count.is_autoscaled else _count(count.min, "replica")


def _summary(content: BaseModel, file: Path) -> str:
    if isinstance(content, TopologyFile):
        nodes = empty_placement(content, str(file), None).topology.nodes
        return f"{_count(len(nodes), 'machine')}, {_count(sum(node.gpus for node in nodes), 'GPU')}"
    if isinstance(content, PlanFile):
        shape_of(content.model, file)
        draft_shape_of(content, file)
        return f"{content.model} on {content.hardware}"
    listed = next(iter(content.model_dump().values()))
    return _count(len(listed), next(iter(type(content).model_fields)).removesuffix("s"))


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' if number != 1 else ''}"
