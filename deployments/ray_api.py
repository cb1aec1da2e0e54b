"""Everything RackServe asks of Ray and Ray Serve: the only file that imports them.

Ray is untyped here, and some of what is used is alpha or internal (noted where it is); `tests/integration/
test_ray_api.py` pins the behaviour this file relies on.
"""

import atexit
import contextlib
import logging
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import ray
from ray import serve
from ray.exceptions import RayActorError, RayError
from ray.experimental import internal_kv
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException

from cluster.errors import ClusterError, ClusterUnreachableError

NAMESPACE: Final = "rackserve"
"""The Ray namespace of RackServe's own named actors."""
KV_NAMESPACE: Final = b"rackserve"
OBJECT_STORE_BYTES: Final = 100_000_000
"""Ray's object store on a cluster we start: no token ever crosses it, so little more than its minimum (75 MB)."""

Application = Any
"""A bound Serve application; only Serve looks inside."""


# --- Connecting ------------------------------------------------------------------------------------------------------


def _quieten(*, quiet: bool) -> None:
    logging.getLogger("ray.serve").setLevel(logging.WARNING if quiet else logging.INFO)


def start_local(cpus: float, *, quiet: bool = True) -> None:
    """Start a Ray cluster on this machine, for as long as this process lives.

    Args:
        cpus: logical CPUs the cluster needs; it gets at least the machine's own, so that more replicas than cores fit.
        quiet: keep worker logs out of this terminal; they are in Ray's log files.

    Raises:
        ClusterError: Ray did not start.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # this cluster calls nobody
    os.environ.setdefault(
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"
    )  # Ray 2.60 warns unless told; 0 is its future default
    _quieten(quiet=quiet)
    _init(
        "local",
        num_cpus=max(math.ceil(cpus), os.cpu_count() or 1),
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        log_to_driver=not quiet,
        logging_level=logging.ERROR if quiet else logging.INFO,
    )


def connect(address: str, *, quiet: bool = True) -> None:
    """Connect to a running Ray cluster; does nothing if this process is connected.

    Args:
        address: `host:port` of its head, or `auto` for the one on this machine.
        quiet: keep worker logs out of this terminal.

    Raises:
        ClusterUnreachableError: there is none.
    """
    if not ray.is_initialized():
        _quieten(quiet=quiet)
        _init(address, log_to_driver=not quiet, logging_level=logging.ERROR if quiet else logging.INFO)


def _init(address: str, **options: Any) -> None:  # noqa: ANN401 - ray.init's own options
    try:
        ray.init(address, namespace=NAMESPACE, **options)
    except ConnectionError as error:
        first_line = str(error).splitlines()[0]
        raise ClusterUnreachableError(f"no Ray cluster at {address!r}: {first_line}") from error
    except (RayError, RuntimeError, ValueError, OSError) as error:
        raise ClusterError(f"Ray did not start: {error}") from error


def is_connected() -> bool:
    """Tell whether this process is part of a Ray cluster."""
    return bool(ray.is_initialized())


def disconnect() -> None:
    """Leave the cluster; one that `start_local` started ends."""
    with _ray_errors("leaving the Ray cluster"):
        ray.shutdown()


def address() -> str:
    """Return `host:port` of the cluster's head, as `RAY_ADDRESS` wants it."""
    return str(ray.get_runtime_context().gcs_address)


def cluster_resources() -> dict[str, float]:
    """Return all of the cluster's logical resources: `CPU`, `GPU`, ..."""
    with _ray_errors("asking for the cluster's resources"):
        return dict(ray.cluster_resources())


def fits_now(cpus: float, gpus: float) -> bool:
    """Tell whether some node has this much free at the moment."""
    with _ray_errors("asking for free resources"):
        per_node = ray._private.state.available_resources_per_node()  # noqa: SLF001 - Ray has no public call for it
    return any(free.get("CPU", 0.0) >= cpus and free.get("GPU", 0.0) >= gpus for free in per_node.values())


def has_own_cluster_died() -> bool:
    """Tell whether a process of the cluster that `start_local` started has ended: nothing can be asked of it then."""
    node = ray._private.worker._global_node  # noqa: SLF001 - Ray has no public call for it
    return node is not None and bool(node.dead_processes())


def abandon_own_cluster() -> None:
    """End what is left of a cluster for which `has_own_cluster_died`; leaving it in good order would wait for ever."""
    atexit.unregister(ray.shutdown)
    ray._private.worker._global_node.kill_all_processes(check_alive=False, allow_graceful=False)  # noqa: SLF001


def node_address() -> str:
    """Return the address other nodes reach this one at."""
    return str(ray.util.get_node_ip_address())


def node_id() -> str:
    """Return the id of the Ray node this process is on."""
    return str(ray.get_runtime_context().get_node_id())


# --- The cluster's memory --------------------------------------------------------------------------------------------


def shared_secret(name: str) -> str:
    """Return the secret `name` of this cluster, the same in every process, made at first use.

    It lives in Ray's own key-value store (internal API), beside what Serve keeps there: it outlives every actor, and
    whoever can read it can run code on the cluster anyhow.
    """
    key = f"secret/{name}".encode()
    with _ray_errors("reading the cluster's secret"):
        internal_kv._internal_kv_put(key, secrets.token_urlsafe(32).encode(), False, namespace=KV_NAMESPACE)  # noqa: FBT003, SLF001
        return bytes(internal_kv._internal_kv_get(key, namespace=KV_NAMESPACE)).decode()  # noqa: SLF001


def forget_secret(name: str) -> None:
    """Delete the secret `name`; what is still running goes on with it."""
    with _ray_errors("deleting the cluster's secret"):
        internal_kv._internal_kv_del(f"secret/{name}".encode(), namespace=KV_NAMESPACE)  # noqa: SLF001


# --- Named actors ----------------------------------------------------------------------------------------------------


class ActorRef:
    """A named actor that may restart, or be made anew, between two calls."""

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        self._name = name
        self._make = make
        self._handle: Any = None

    async def call(self, method: str, *args: Any) -> Any:  # noqa: ANN401 - the method's own
        """Call a method of the actor and return what it returns.

        Raises:
            ClusterError: the actor is away, or its method failed.
        """
        try:
            if self._handle is None:
                self._handle = self._make()
            return await getattr(self._handle, method).remote(*args)
        except RayActorError as error:
            self._handle = None  # dead for good or restarting: looked up, or made, at the next call
            raise ClusterError(f"the actor {self._name} is away: {_first_line(error)}") from error
        except (RayError, ValueError, RuntimeError) as error:
            raise ClusterError(f"{self._name}.{method} failed: {_first_line(error)}") from error

    def call_now(self, method: str, *args: Any, timeout_s: float = 10.0) -> Any:  # noqa: ANN401 - the method's own
        """Call a method and wait for the result, from a thread without an event loop.

        Raises:
            ClusterError: the actor is away, slow, or its method failed.
        """
        try:
            if self._handle is None:
                self._handle = self._make()
            return ray.get(getattr(self._handle, method).remote(*args), timeout=timeout_s)
        except (RayError, ValueError, RuntimeError) as error:
            self._handle = None
            raise ClusterError(f"{self._name}.{method} failed: {_first_line(error)}") from error


def durable_actor(actor_class: type, name: str, *args: Any) -> ActorRef:  # noqa: ANN401 - the constructor's own
    """Return the actor `name`, made when it does not exist: it outlives its maker and restarts whenever it dies.

    Takes no CPU of Ray's accounting. Its methods must be coroutines; thousands of calls may wait in it at once.
    """

    def make() -> Any:  # noqa: ANN401 - a Ray handle
        return (
            ray.remote(actor_class)
            .options(
                name=name,
                namespace=NAMESPACE,
                lifetime="detached",
                get_if_exists=True,
                max_restarts=-1,
                num_cpus=0,
                max_concurrency=10_000,
            )
            .remote(*args)
        )

    return ActorRef(name, make)


def existing_actor(name: str) -> ActorRef:
    """Return the actor `name`; calls fail with ClusterError while there is none."""
    return ActorRef(name, lambda: ray.get_actor(name, namespace=NAMESPACE))


def actor_names() -> list[str]:
    """Return the names of RackServe's living named actors."""
    with _ray_errors("listing actors"):
        actors = ray.util.list_named_actors(all_namespaces=True)
    return sorted(actor["name"] for actor in actors if actor["namespace"] == NAMESPACE)


def kill_actor(name: str, *, restart: bool = False) -> None:
    """End the actor `name` at once; does nothing if there is none. With `restart`, Ray starts it anew."""
    with contextlib.suppress(ValueError), _ray_errors(f"ending the actor {name}"):
        ray.kill(ray.get_actor(name, namespace=NAMESPACE), no_restart=not restart)


def end_this_actor() -> None:
    """End the actor this process is, for good."""
    ray.kill(ray.get_runtime_context().current_actor, no_restart=True)


# --- Serve -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeploymentOptions:
    """How Serve runs one deployment.

    Attributes:
        name: unique in its application.
        version: replicas are restarted where this changes, and only then (`rackserve serve`; a Serve config file
            restarts all deployments of an application whose arguments changed).
        replicas: how many.
        cpus: logical CPUs a replica takes.
        gpus: logical GPUs a replica takes.
        env: environment variables of its process.
        user_config: JSON-like settings handed to `reconfigure`, which may change without a restart.
        drain_s: how long a stopping replica's destructor may take.
        surge: start a new replica before stopping an old one in a rolling update; needs room for one more.
    """

    name: str
    version: str
    replicas: int
    cpus: float
    gpus: float = 0.0
    env: Mapping[str, str] = field(default_factory=dict)
    user_config: Mapping[str, Any] | None = None
    drain_s: float = 20.0
    surge: bool = True


def bind(replica_class: type, options: DeploymentOptions, *args: Any) -> Application:  # noqa: ANN401 - the constructor's own
    """Return a Serve application of one deployment; applications among `args` become part of it."""
    deployment = serve.deployment(replica_class).options(
        name=options.name,
        num_replicas=options.replicas,
        ray_actor_options={
            "num_cpus": options.cpus,
            "num_gpus": options.gpus,
            "runtime_env": {"env_vars": dict(options.env)},
        },
        user_config=dict(options.user_config) if options.user_config is not None else None,
        # Serve waits for its own requests only, of which there are none, and does so at least once.
        graceful_shutdown_wait_loop_s=0.05,
        graceful_shutdown_timeout_s=options.drain_s + 10.0,
        # A dead process is found by the next check; one that says it is unhealthy by the third (Serve's threshold).
        health_check_period_s=1.0,
        health_check_timeout_s=10.0,
        # Serve's default of 0 stops old replicas before new ones are ready. 1 % rounds up to one replica.
        max_surge_percent=1 if options.surge else 0,
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )
    # Serve would make up a new version at every `run`, and so restart everything. It reads this attribute (internal).
    deployment._version = options.version  # noqa: SLF001
    return deployment.bind(*args)


@dataclass(frozen=True, slots=True)
class DeploymentState:
    """A deployment as Serve sees it.

    Attributes:
        status: Serve's word: `HEALTHY`, `UPDATING`, `UNHEALTHY`, `DEPLOY_FAILED`, ...
        message: why, where Serve says.
        wanted: replicas wanted.
        replicas: how many replicas are in each state, such as `RUNNING` and `STARTING`.
    """

    status: str
    message: str
    wanted: int
    replicas: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ApplicationState:
    """An application as Serve sees it; `status` is `NOT_STARTED`, `DEPLOYING`, `RUNNING`, `DEPLOY_FAILED`, ..."""

    status: str
    message: str
    deployments: Mapping[str, DeploymentState]


def default_serve_port(port: int) -> None:
    """Make `port` the HTTP port of a Serve that this process starts later without saying which.

    For `serve run`, which calls an application's builder first and then starts Serve on port 8000, the apps' own.
    """
    HTTPOptions.model_fields["port"].default = port
    HTTPOptions.model_rebuild(force=True)


def start_serve(port: int) -> bool:
    """Start Ray Serve unless it runs; returns whether it was started.

    Args:
        port: of Serve's own HTTP (control and health checks) on the head node; 0: none.

    Raises:
        ClusterError: it did not start.
    """
    if is_serve_running():
        return False
    with _ray_errors("starting Ray Serve"):
        serve.start(
            proxy_location=ProxyLocation.HeadOnly if port else ProxyLocation.Disabled,
            http_options={"host": "0.0.0.0", "port": port} if port else None,  # noqa: S104 - probes come from outside
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
    return True


def is_serve_running() -> bool:
    """Tell whether Ray Serve runs on the cluster."""
    with _ray_errors("looking for Ray Serve"):
        return _get_global_client(raise_if_no_controller_running=False) is not None


def serve_http_port() -> int:
    """Return the port Serve's own HTTP listens on; 0: it has none."""
    with _ray_errors("asking Ray Serve for its port"):
        client = _get_global_client(raise_if_no_controller_running=False)
    if client is None or client.http_config.location == ProxyLocation.Disabled or client.http_config.host is None:
        return 0
    return int(client.http_config.port)


def deploy(application: Application, name: str) -> None:
    """Ask Serve to run `application` as `name`, or to update it; returns at once (see `application_state`).

    On Serve's own HTTP it stands under `/NAME`.

    Raises:
        ClusterError: Serve refused it.
    """
    with _ray_errors(f"deploying {name}"):
        serve.api._run(application, _blocking=False, name=name, route_prefix=f"/{name}")  # noqa: SLF001


def application_state(name: str) -> ApplicationState | None:
    """Return what Serve says of the application `name`; None: it does not exist."""
    with _ray_errors("asking Ray Serve for its status"):
        found = serve.status().applications.get(name)
    if found is None:
        return None
    return ApplicationState(
        status=str(found.status.value),
        message=found.message,
        deployments={
            key: DeploymentState(
                status=str(state.status.value),
                message=state.message,
                wanted=sum(state.replica_states.values()),
                replicas={str(getattr(kind, "value", kind)): count for kind, count in state.replica_states.items()},
            )
            for key, state in found.deployments.items()
        },
    )


def application_names() -> list[str]:
    """Return the names of the applications Serve runs."""
    with _ray_errors("asking Ray Serve for its applications"):
        return sorted(serve.status().applications)


def delete_application(name: str) -> None:
    """Stop the application `name` and wait until it is gone."""
    with _ray_errors(f"stopping {name}"):
        serve.delete(name)


def stop_serve() -> None:
    """Stop Ray Serve with all its applications."""
    with _ray_errors("stopping Ray Serve"):
        serve.shutdown()


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


# --- Errors ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _ray_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except (RayError, RayServeException, ConnectionError, TimeoutError, RuntimeError) as error:
        raise ClusterError(f"{doing}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    lines: Sequence[str] = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]
