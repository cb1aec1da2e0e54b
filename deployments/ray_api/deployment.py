"""Options with which Serve runs a deployment, and a replica's own identity."""

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
    """The policy that decides a deployment's number of replicas.

    Attributes:
        policy: `module:Class`; made in Serve's controller with `arguments` and called about twice a second.
        arguments: the policy's keyword arguments, JSON-like.
        min_replicas: least number of replicas, whatever the policy decides.
        max_replicas: most replicas, whatever the policy decides.
        down_after_s: seconds that the policy must have wanted fewer replicas before Serve stops any.
    """

    policy: str
    arguments: Mapping[str, Any]
    min_replicas: int
    max_replicas: int
    down_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LikedNodes:
    """Preferred nodes, by a Ray label.

    Attributes:
        label: the label's key.
        values: Ray's selector of the preferred nodes' values: `x`, `!x`, `in(x,y)` or `!in(x,y)`.
        others: Ray's selector of all other nodes' values; selectors with `!` include nodes without the label.
    """

    label: str
    values: str
    others: str


@dataclass(frozen=True, slots=True)
class DeploymentOptions:
    """How Serve runs one deployment.

    Attributes:
        name: unique in its application.
        version: Serve restarts the replicas when this changes, and only then.
        replicas: the number of replicas, or the policy that decides it.
        cpus: logical CPUs per replica.
        gpus: logical GPUs per replica.
        env: environment variables of the replicas' processes.
        user_config: JSON-like settings passed to `reconfigure`; a change does not restart replicas.
        drain_s: seconds that a stopping replica's destructor may take.
        surge_percent: share of the replicas, at least one, that a rolling update starts before it stops old ones; needs
            room for them. 0: old ones stop first.
        node_labels: Ray labels that a node must have, all of them.
        liked: nodes to prefer if they have the CPUs; None: no preference.
        per_node: most replicas of one version on one node; None: no limit.
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
    """A deployment's config whose version cannot be changed.

    To an application of a Serve config file, as KubeRay deploys it, Serve gives one version for all deployments: a
    digest of the builder's arguments (`get_deploy_args`, internal). A change of one model's limits would then restart
    every engine. Only `version` is kept; Serve sets everything else as usual.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if name != "version":
            super().__setattr__(name, value)


def bind(replica_class: type, options: DeploymentOptions, *args: Any) -> Application:  # noqa: ANN401 - the constructor's own
    """Return a Serve application with one deployment.

    Args:
        replica_class: the class of its replicas.
        options: how Serve runs it.
        args: the constructor's arguments; applications among them become part of this one.
    """
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
            # Serve waits only for requests of its own, which do not exist here, but at least this long.
            graceful_shutdown_wait_loop_s=0.05,
            graceful_shutdown_timeout_s=options.drain_s + 10.0,
            # Serve replaces a dead process at the next check, and an unhealthy one at the third (its threshold).
            health_check_period_s=1.0,
            health_check_timeout_s=10.0,
            # Serve's default of 0 stops old replicas before new ones are ready. 1 % rounds up to one replica.
            max_surge_percent=options.surge_percent,
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
    # Serve would invent a new version at every `run` and restart everything. It reads this attribute (internal).
    deployment._version = options.version  # noqa: SLF001
    config = deployment._deployment_config  # noqa: SLF001 - read in its place if Serve has a config file
    config.version = options.version
    config.__class__ = _OwnVersion
    return deployment.bind(*args)


def _slot(options: DeploymentOptions) -> str:
    """Return the resource by which Ray counts a version's replicas on a node: every node has 1 of each such resource.

    Serve's own `max_replicas_per_node` uses such a resource too, but for all versions together. With room for an
    update's new replica, it would also allow two replicas on one node and none on another.
    """
    return f"{IMPLICIT_RESOURCE_PREFIX}{options.name}:{options.version}"


def _share(per_node: int) -> float:
    return math.floor(10_000 / per_node) / 10_000  # Ray's precision, rounded down: the sum must not exceed 1


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
        # Unset, because Serve would return to `initial_replicas` at every change of the deployment's settings.
        initial_replicas=None,
        # The policy decides when; Serve's own delays would come on top.
        upscale_delay_s=0.0,
        downscale_delay_s=wanted.down_after_s,
        policy=AutoscalingPolicy(policy_function=wanted.policy, policy_kwargs=dict(wanted.arguments)),
    )
    return {"num_replicas": None, "autoscaling_config": config}


@dataclass(frozen=True, slots=True)
class ReplicaIdentity:
    """The Serve replica that this process runs.

    Attributes:
        application: its application's name.
        deployment: its deployment's name.
        unique_id: unique for one life of one replica.
    """

    application: str
    deployment: str
    unique_id: str


def this_replica() -> ReplicaIdentity:
    """Return the identity of the Serve replica that this process runs."""
    context = serve.get_replica_context()
    return ReplicaIdentity(context.app_name, context.deployment, context.replica_id.unique_id)
