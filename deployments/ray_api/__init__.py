"""Every call that RackServe makes to Ray and Ray Serve: the only package that imports them.

Ray is untyped here, and some of these calls are alpha or internal (each says so). `tests/integration/cluster` pins the
behaviour that this package relies on.
"""

from deployments.ray_api.actors import ActorRef, actor_names, durable_actor, end_this_actor, existing_actor, kill_actor
from deployments.ray_api.application import (
    ApplicationState,
    DeploymentState,
    application_names,
    application_state,
    delete_application,
    deploy,
    status_words,
)
from deployments.ray_api.cluster import (
    abandon_own_cluster,
    address,
    check_head,
    cluster_resources,
    connect,
    disconnect,
    fits_now,
    has_own_cluster_died,
    is_connected,
    local_cpus,
    node_address,
    node_id,
    node_labels,
    start_local,
)
from deployments.ray_api.deployment import (
    Application,
    DeploymentOptions,
    LikedNodes,
    PolicyOptions,
    ReplicaIdentity,
    bind,
    this_replica,
)
from deployments.ray_api.draining import drain_node, replicas_on
from deployments.ray_api.gang_bundles import GangBundles, StandingGang, standing_gangs
from deployments.ray_api.kept_texts import forget_text, keep_text, kept_text
from deployments.ray_api.machines import (
    Machine,
    ask_autoscaler,
    autoscaler_log,
    lasting_nodes,
    machine_here,
    machines,
    stream_from_node,
)
from deployments.ray_api.replica_logs import LogPart, LogReader, ReplicaProcess, replica_processes
from deployments.ray_api.serve import default_serve_port, is_serve_running, serve_http_port, start_serve, stop_serve
from deployments.ray_api.shared_secrets import forget_secret, shared_secret

__all__ = [
    "ActorRef",
    "Application",
    "ApplicationState",
    "DeploymentOptions",
    "DeploymentState",
    "GangBundles",
    "LikedNodes",
    "LogPart",
    "LogReader",
    "Machine",
    "PolicyOptions",
    "ReplicaIdentity",
    "ReplicaProcess",
    "StandingGang",
    "abandon_own_cluster",
    "actor_names",
    "address",
    "application_names",
    "application_state",
    "ask_autoscaler",
    "autoscaler_log",
    "bind",
    "check_head",
    "cluster_resources",
    "connect",
    "default_serve_port",
    "delete_application",
    "deploy",
    "disconnect",
    "drain_node",
    "durable_actor",
    "end_this_actor",
    "existing_actor",
    "fits_now",
    "forget_secret",
    "forget_text",
    "has_own_cluster_died",
    "is_connected",
    "is_serve_running",
    "keep_text",
    "kept_text",
    "kill_actor",
    "lasting_nodes",
    "local_cpus",
    "machine_here",
    "machines",
    "node_address",
    "node_id",
    "node_labels",
    "replica_processes",
    "replicas_on",
    "serve_http_port",
    "shared_secret",
    "standing_gangs",
    "start_local",
    "start_serve",
    "status_words",
    "stop_serve",
    "stream_from_node",
    "this_replica",
]
