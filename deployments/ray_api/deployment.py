"""What Serve is told of one deployment, and what a replica knows of itself."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ray import serve
from ray._raylet import IMPLICIT_RESOURCE_PREFIX  # type: ignore[attr-defined] # Ray is untyped here
from ray.serve._private.config import DeploymentConfig
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

from deployments.ray_api.serve_configs import SERVE_CONFIGS

Application = Any
"""A bound Serve application; only Serve looks inside."""


@dataclass(frozen=True, slots=True)
class PolicyOptions:
    """Who decides how many replicas a deployment has.

    Attributes:
        policy: `module:Class`; made in Serve's controller with `arguments` and called about ten times a second.
        arguments: JSON-like.
        min_replicas: no fewer, whatever it decides.
        max_replicas: no more.
        down_after_s: it must have wanted fewer for so long.
    """

    policy: str
    arguments: Mapping[str, Any]
    min_replicas: int
    max_replicas: int
    down_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LikedNodes:
    """Nodes that are better than others, by a Ray label.

    Attributes:
        label: its key.
        values: that they have, as Ray's selectors are written: `x`, `!x`, `in(x,y)`, `!in(x,y)`.
        others: likewise, of all others; nodes without the label are among those with `!`.
    """

    label: str
    values: str
    others: str


@dataclass(frozen=True, slots=True)
class DeploymentOptions:
    """How Serve runs one deployment.

    Attributes:
        name: unique in its application.
        version: replicas are restarted where this changes, and only then.
        replicas: how many, or who decides that.
        cpus: logical CPUs a replica takes.
        gpus: logical GPUs a replica takes.
        env: environment variables of its process.
        user_config: JSON-like settings handed to `reconfigure`, which may change without a restart.
        drain_s: how long a stopping replica's destructor may take.
        surge_percent: of the replicas, so many new ones start before old ones stop in a rolling update, and one at the
            least; needs room for them. 0: old ones stop first.
        node_labels: only nodes with all of these Ray labels.
        liked: nodes that it had best be on, where they have the CPUs; None: all alike.
        per_node: at most so many replicas of one version on one node; None: no limit.
    """

    name: str
    version: str
    replicas: int | PolicyOptions
    cpus: float
    gpus: float = 0.0
    env: Mapping[str, str] = field(default_factory=dict)
    user_config: Mapping[str, Any] | None = None
    drain_s: float = 20.0
    surge_percent: int = 1
    node_labels: Mapping[str, str] = field(default_factory=dict)
    liked: LikedNodes | None = None
    per_node: int | None = None


class _OwnVersion(DeploymentConfig):  # type: ignore[misc] # Ray is untyped here
    """A deployment's config that keeps the version it was given.

    Applications of a Serve config file, as KubeRay deploys them, get one version for all their deployments: a digest of
    the builder's arguments (`get_deploy_args`, internal). With it every engine would start anew where one model's
    limits changed. Only `version` is held; Serve sets everything else as ever.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if name != "version":
            super().__setattr__(name, value)


def bind(replica_class: type, options: DeploymentOptions, *args: Any) -> Application:  # noqa: ANN401 - the constructor's own
    """Return a Serve application of one deployment; applications among `args` become part of it."""
    with SERVE_CONFIGS:
        deployment = serve.deployment(replica_class).options(
            name=options.name,
            **_replicas(options.replicas),
            ray_actor_options={
                "num_cpus": options.cpus,
                "num_gpus": options.gpus,
                "runtime_env": {"env_vars": dict(options.env)},
                **_selectors(options),
                **({"resources": {_slot(options): _share(options.per_node)}} if options.per_node else {}),
            },
            user_config=dict(options.user_config) if options.user_config is not None else None,
            # Serve waits for its own requests only, of which there are none, and does so at least once.
            graceful_shutdown_wait_loop_s=0.05,
            graceful_shutdown_timeout_s=options.drain_s + 10.0,
            # A dead process is found by the next check; one that says it is unhealthy by the third (Serve's threshold).
            health_check_period_s=1.0,
            health_check_timeout_s=10.0,
            # Serve's default of 0 stops old replicas before new ones are ready. 1 % rounds up to one replica.
            max_surge_percent=options.surge_percent,
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
    # Serve would make up a new version at every `run`, and so restart everything. It reads this attribute (internal).
    deployment._version = options.version  # noqa: SLF001
    config = deployment._deployment_config  # noqa: SLF001 - likewise, where Serve has a config file
    config.version = options.version
    config.__class__ = _OwnVersion
    return deployment.bind(*args)


def _slot(options: DeploymentOptions) -> str:
    """Return the resource by which Ray counts a version's replicas on a node: every node has 1 of any such resource.

    Serve's own `max_replicas_per_node` uses one too, but for all versions together: with room for an update's new
    replica it would also put two on one node and none on another.
    """
    return f"{IMPLICIT_RESOURCE_PREFIX}{options.name}:{options.version}"


def _share(per_node: int) -> float:
    return math.floor(10_000 / per_node) / 10_000  # what Ray counts in: never a bit more than the node's 1 in all


def _selectors(options: DeploymentOptions) -> dict[str, Any]:
    required = dict(options.node_labels)
    liked = options.liked
    if liked is None:
        return {"label_selector": required} if required else {}
    return {
        "label_selector": {**required, liked.label: liked.values},
        "fallback_strategy": [{"label_selector": {**required, liked.label: liked.others}}],
    }


def _replicas(wanted: int | PolicyOptions) -> dict[str, Any]:
    if isinstance(wanted, int):
        return {"num_replicas": wanted}
    config = AutoscalingConfig(
        min_replicas=wanted.min_replicas,
        max_replicas=wanted.max_replicas,
        # Left unset on purpose: Serve would go back to `initial_replicas` whenever the deployment's settings change.
        initial_replicas=None,
        # The policy has its own idea of when; Serve would wait on top of it.
        upscale_delay_s=0.0,
        downscale_delay_s=wanted.down_after_s,
        policy=AutoscalingPolicy(policy_function=wanted.policy, policy_kwargs=dict(wanted.arguments)),
    )
    return {"num_replicas": None, "autoscaling_config": config}


@dataclass(frozen=True, slots=True)
class ReplicaIdentity:
    """Which Serve replica this process is; `unique_id` is one life of one replica."""

    application: str
    deployment: str
    unique_id: str


def this_replica() -> ReplicaIdentity:
    """Return which Serve replica this process is."""
    context = serve.get_replica_context()
    return ReplicaIdentity(context.app_name, context.deployment, context.replica_id.unique_id)
