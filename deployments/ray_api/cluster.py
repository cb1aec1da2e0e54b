"""Starting, joining and leaving a Ray cluster, and what it says of itself and of this node."""

import atexit
import logging
import math
import os
from typing import Any, Final

import ray
from ray.exceptions import RayError

from cluster.errors import ClusterError, ClusterUnreachableError
from cluster.ray_settings import DEATH_TIMEOUTS
from deployments.ray_api.errors import ray_errors

NAMESPACE: Final = "rackserve"
"""The Ray namespace of RackServe's own named actors."""
OBJECT_STORE_BYTES: Final = 100_000_000
"""Ray's object store on a cluster we start: no token ever crosses it, so little more than its minimum (75 MB)."""


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
    for name, value in DEATH_TIMEOUTS.items():
        os.environ.setdefault(name, value)
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
    with ray_errors("leaving the Ray cluster"):
        ray.shutdown()


def address() -> str:
    """Return `host:port` of the cluster's head, as `RAY_ADDRESS` wants it."""
    return str(ray.get_runtime_context().gcs_address)


def cluster_resources() -> dict[str, float]:
    """Return all of the cluster's logical resources: `CPU`, `GPU`, ..."""
    with ray_errors("asking for the cluster's resources"):
        return dict(ray.cluster_resources())


def fits_now(cpus: float, gpus: float) -> bool:
    """Tell whether some node has this much free at the moment."""
    with ray_errors("asking for free resources"):
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


def node_labels() -> dict[str, str]:
    """Return the labels of the Ray node this process is on: Ray's and its operator's."""
    return dict(ray.get_runtime_context().get_node_labels())
