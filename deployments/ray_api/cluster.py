"""Starts, joins and leaves a Ray cluster, and reads facts about it and about this node."""

import atexit
import logging
import math
import os
from typing import Any, Final

import ray
from ray.exceptions import RayError

from cluster.errors import ClusterError, ClusterUnreachableError
from cluster.ray_settings import DEATH_TIMEOUTS, HEAD_AWAY, PACE, UNSEEN
from deployments.ray_api.errors import ray_errors
from deployments.ray_api.joining.authentication import settle_for_own_cluster
from deployments.ray_api.joining.head import ask_head

NAMESPACE: Final = "rackserve"
"""The Ray namespace of RackServe's own named actors."""
OBJECT_STORE_BYTES: Final = 100_000_000
"""Size, in bytes, of the object store of a cluster we start: near Ray's minimum (75 MB), for no token crosses it."""


def _quieten(*, quiet: bool) -> None:
    logging.getLogger("ray.serve").setLevel(logging.WARNING if quiet else logging.INFO)


def start_local(cpus: float, *, quiet: bool = True) -> None:
    """Start a Ray cluster on this machine that ends with this process.

    Args:
        cpus: logical CPUs that the cluster needs; may exceed the machine's, so that more replicas than cores fit.
        quiet: keep workers' logs out of this terminal; they are in Ray's log files.

    Raises:
        ClusterError: Ray did not start.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send no usage statistics
    os.environ.setdefault(
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"
    )  # Ray 2.60 warns unless this is set; 0 is its future default
    for name, value in {**DEATH_TIMEOUTS, **HEAD_AWAY, **PACE, **UNSEEN}.items():
        os.environ.setdefault(name, value)
    settle_for_own_cluster()
    _quieten(quiet=quiet)
    _init(
        "local",
        num_cpus=local_cpus(cpus),
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        log_to_driver=not quiet,
        logging_level=logging.ERROR if quiet else logging.INFO,
    )


def local_cpus(cpus: float) -> int:
    """Return the logical CPUs of the cluster that `start_local(cpus)` starts: at least one for each core."""
    return max(math.ceil(cpus), os.cpu_count() or 1)


def connect(address: str, *, quiet: bool = True) -> None:
    """Connect to a running Ray cluster; do nothing if this process is connected.

    Args:
        address: `host:port` of its head, or `auto` for the cluster on this machine.
        quiet: keep workers' logs out of this terminal.

    Raises:
        ClusterUnreachableError: there is no cluster at that address, or it cannot be joined from here; told in seconds.
        ClusterError: Ray refused the connection.
    """
    if not ray.is_initialized():
        _quieten(quiet=quiet)
        head = ask_head(address)
        _init(head, log_to_driver=not quiet, logging_level=logging.ERROR if quiet else logging.INFO)


def _init(address: str, **options: Any) -> None:  # noqa: ANN401 - ray.init's own options
    try:
        ray.init(address, namespace=NAMESPACE, **options)
    except ConnectionError as error:
        first_line = str(error).splitlines()[0]
        raise ClusterUnreachableError(f"no Ray cluster at {address!r}: {first_line}") from error
    except (RayError, RuntimeError, ValueError, OSError) as error:
        raise ClusterError(f"Ray did not start: {error}") from error


def is_connected() -> bool:
    """Return whether this process is connected to a Ray cluster."""
    return bool(ray.is_initialized())


def disconnect() -> None:
    """Leave the cluster; if `start_local` started it, it ends."""
    with ray_errors("leaving the Ray cluster"):
        ray.shutdown()


def address() -> str:
    """Return `host:port` of the cluster's head, in the form of `RAY_ADDRESS`."""
    return str(ray.get_runtime_context().gcs_address)


def check_head(timeout_s: float = 2.0) -> None:
    """Check that the cluster's head answers within `timeout_s`; this blocks, so call it in a thread of its own.

    Raises:
        ClusterError: it does not.
    """
    client = ray._private.worker.global_worker.gcs_client  # noqa: SLF001 - Ray has no public call with a time limit
    with ray_errors("asking Ray's head"):
        client.internal_kv_get(b"rackserve", None, timeout=timeout_s)


def cluster_resources() -> dict[str, float]:
    """Return the total of each of the cluster's logical resources: `CPU`, `GPU`, ..."""
    with ray_errors("asking for the cluster's resources"):
        return dict(ray.cluster_resources())


def fits_now(cpus: float, gpus: float) -> bool:
    """Return whether some node has these logical CPUs and GPUs free now."""
    with ray_errors("asking for free resources"):
        per_node = ray._private.state.available_resources_per_node()  # noqa: SLF001 - Ray has no public call for it
    return any(free.get("CPU", 0.0) >= cpus and free.get("GPU", 0.0) >= gpus for free in per_node.values())


def has_own_cluster_died() -> bool:
    """Return whether a process of the cluster that `start_local` started has ended; Ray calls may then hang."""
    node = ray._private.worker._global_node  # noqa: SLF001 - Ray has no public call for it
    return node is not None and bool(node.dead_processes())


def abandon_own_cluster() -> None:
    """Kill what is left of a cluster for which `has_own_cluster_died`; an orderly shutdown would wait forever."""
    atexit.unregister(ray.shutdown)
    ray._private.worker._global_node.kill_all_processes(check_alive=False, allow_graceful=False)  # noqa: SLF001


def node_address() -> str:
    """Return this node's address, as other nodes reach it."""
    return str(ray.util.get_node_ip_address())


def node_id() -> str:
    """Return the id of this process's Ray node."""
    return str(ray.get_runtime_context().get_node_id())


def node_labels() -> dict[str, str]:
    """Return the labels of this process's Ray node: Ray's and its operator's."""
    return dict(ray.get_runtime_context().get_node_labels())
