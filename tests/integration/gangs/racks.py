"""Racks of Ray nodes on one machine: real raylets with logical GPUs and labels, light enough for dozens."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray._private.services as ray_services
from ray._private.authentication.authentication_token_setup import (
    enable_token_auth_by_default,
    ensure_token_if_auth_enabled,
)
from ray.autoscaler.v2.sdk import get_cluster_resource_state
from ray.cluster_utils import Cluster
from ray.experimental.internal_kv import internal_kv_get_gcs_client

import deployments.ray_api as ray_api
from cluster.placement.node_labels import ACCELERATOR, DOMAIN, HOST, NODE_GROUP
from cluster.placement.topology import Node, Topology
from cluster.ray_settings import DEATH_TIMEOUTS, PACE
from tests.free_ports import free_port

OBJECT_STORE_BYTES = 80_000_000
GPUS_PER_NODE = 4

_STANDIN = """import os, sys
words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
for name in {ports}:
    path = os.path.join(words["--session-dir"], name + "_" + words["--node-id"])
    open(path + ".new", "w").write("1")
    os.rename(path + ".new", path)
os.execvp("sleep", ["sleep", "infinity"])
"""
_AGENTS = {
    "dashboard/agent.py": ["dashboard_agent_listen_port", "metrics_agent_port", "metrics_export_port"],
    "_private/runtime_env/agent/main.py": ["runtime_env_agent_port"],
}


class Racks:
    """A Ray cluster of a head node with CPUs and racks of nodes with logical GPUs.

    Nodes without `cpus` hold GPUs for placement groups but start no process of ours; Ray's two Python agents,
    which would take most of the time and memory, are stood in for by `sleep` there. The raylets are Ray's own.
    """

    def __init__(self, head_cpus: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="rackserve-agents-"))
        for path, ports in _AGENTS.items():
            file = self._folder / path
            file.parent.mkdir(parents=True)
            file.write_text(_STANDIN.format(ports=ports))
        # As `ray.init` does for a cluster of its own; `Cluster` does not, and processes would differ about tokens.
        enable_token_auth_by_default()
        ensure_token_if_auth_enabled()
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": head_cpus,
                "num_gpus": 0,
                "object_store_memory": OBJECT_STORE_BYTES,
                "include_dashboard": False,
                "labels": {"rackserve.io/role": "head"},
            },
        )
        self._nodes: dict[str, Any] = {}
        self._gpus: dict[str, int] = {}

    @property
    def address(self) -> str:
        """The head's address."""
        return str(self._cluster.address)

    def add(
        self,
        rack: str,
        nodes: int,
        *,
        gpus: int = GPUS_PER_NODE,
        kind: str = "GB300",
        cpus: int | None = None,
    ) -> None:
        """Add nodes `RACK-n0` … of one domain, or the next of them; `wait` for them."""
        first = sum(1 for name in self._nodes if name.rpartition("-n")[0] == rack)
        for number in range(first, first + nodes):
            host = f"{rack}-n{number}"
            with contextlib.nullcontext() if cpus is not None else self._stood_in_agents():
                self._gpus[host] = gpus
                self._nodes[host] = self._cluster.add_node(
                    wait=False,
                    num_cpus=cpus or 0,
                    num_gpus=gpus,
                    object_store_memory=OBJECT_STORE_BYTES,
                    include_dashboard=False,
                    labels={DOMAIN: rack, HOST: host, ACCELERATOR: kind, NODE_GROUP: kind.lower()},
                )

    def topology(self) -> Topology:
        """Return where the GPUs are, of all nodes that were added."""
        racks = {host: host.rpartition("-n")[0] for host in self._gpus}
        return Topology.of(Node(host, rack, rack, self._gpus[host]) for host, rack in racks.items())

    def wait(self) -> None:
        """Wait until all nodes are alive."""
        self._cluster.wait_for_nodes()

    def kill(self, host: str) -> None:
        """Kill a node's processes, as a power cut would."""
        self._cluster.remove_node(self._nodes.pop(host), allow_graceful=False)

    def shut_down(self) -> None:
        """End all nodes."""
        self._cluster.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def _stood_in_agents(self) -> Iterator[None]:
        real = ray_services.RAY_PATH
        ray_services.RAY_PATH = str(self._folder)
        try:
            yield
        finally:
            ray_services.RAY_PATH = real


@contextlib.contextmanager
def running_racks(head_cpus: int, add: Callable[[Racks], None]) -> Iterator[Racks]:
    """Run a cluster with Ray Serve, to which this process is connected.

    Args:
        head_cpus: CPUs of its head node.
        add: adds its other nodes.
    """
    ray_api.disconnect()  # from the cluster of other tests, if they came before: a process has one
    folder = tempfile.mkdtemp(prefix="rackserve-", dir="/tmp")
    settings = {
        **DEATH_TIMEOUTS,
        **PACE,
        "RAY_TMPDIR": folder,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_enable_autoscaler_v2": "1",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    cluster = Racks(head_cpus)
    try:
        add(cluster)
        cluster.wait()
        ray_api.connect(cluster.address)
        ray_api.start_serve(free_port(), "127.0.0.1")
        yield cluster
    finally:
        ray_api.disconnect()
        cluster.shut_down()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        shutil.rmtree(folder, ignore_errors=True)


def autoscaler_wants() -> dict[tuple[tuple[str, str], ...], int]:
    """Return what Ray's autoscaler is asked for: GPUs by the labels their nodes must have, as sorted pairs."""
    state = get_cluster_resource_state(internal_kv_get_gcs_client())
    wanted: dict[tuple[tuple[str, str], ...], int] = {}
    for constraint in state.cluster_resource_constraints:
        for each in constraint.resource_requests:
            labels = {
                label.label_key: label.label_values[0]
                for selector in each.request.label_selectors
                for label in selector.label_constraints
            }
            key = tuple(sorted(labels.items()))
            wanted[key] = wanted.get(key, 0) + each.count * int(each.request.resources_bundle.get("GPU", 0))
    return wanted
