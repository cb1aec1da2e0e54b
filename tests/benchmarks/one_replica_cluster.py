"""A whole RackServe cluster on this machine with one real vLLM replica, and the way straight to that replica."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import deployments.ray_api as ray_api
from cluster.errors import ClusterError
from cluster.spec.cluster_spec import ClusterSpec
from deployments.directory.client import view_now
from deployments.launch.application import Launch
from deployments.launch.progress import Progress
from tests.benchmarks.engine_dtype import engine_dtype
from tests.benchmarks.load_plan import API_KEY
from tests.benchmarks.token_streams import Target
from tests.free_ports import free_port

MODEL: Final = "smollm2-135m-instruct"


@dataclass(frozen=True, slots=True)
class OneReplica:
    """A running cluster.

    Attributes:
        through_cluster: the gateway, as an app with an API key sees it.
        straight: the replica's own port, with the cluster's internal credential, as the gateway sees it.
    """

    through_cluster: Target
    straight: Target


def _spec() -> ClusterSpec:
    """Return a cluster of one replica on one core: as beside a GPU, engine and gateway do not fight for one device."""
    return ClusterSpec.model_validate(
        {
            "cluster": {"name": "bench-overhead", "serve_port": free_port()},
            "gateway": {
                "host": "127.0.0.1",
                "port": free_port(),
                "admin_port": free_port(),
                "tenants": [{"name": "bench", "key_sha256": hashlib.sha256(API_KEY.encode()).hexdigest()}],
            },
            "models": [
                {
                    "name": MODEL,
                    "source": MODEL,
                    "engine": "vllm",
                    "replicas": 1,
                    "engine_args": {
                        "dtype": engine_dtype(),
                        "max_model_len": 2048,
                        "max_num_seqs": 32,
                        "gpu_memory_utilization": 0.1,
                        "block_size": 32,
                    },
                    "env": {
                        "VLLM_CPU_KVCACHE_SPACE": "1",
                        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                        "OMP_NUM_THREADS": "1",
                        "HF_HUB_OFFLINE": "1",
                    },
                }
            ],
        }
    )


@contextmanager
def one_replica_cluster(report: Callable[[Progress], None]) -> Iterator[OneReplica]:
    """Run the cluster as `rackserve serve` does, for as long as the context lasts.

    Args:
        report: called with the progress while it starts.

    Raises:
        ClusterError: it did not come up.
    """
    spec = _spec()
    launch = Launch(spec)
    try:
        launch.start(lambda: False)
        url = urlsplit(launch.wait_until_ready(report, lambda: False))
        (replica,) = view_now(spec.cluster.name).replicas
        credential = ray_api.shared_secret(spec.cluster.name)
        if url.hostname is None or url.port is None:
            raise ClusterError(f"the gateway's URL has no host or port: {url.geturl()}")
        yield OneReplica(
            Target(url.hostname, url.port, API_KEY, MODEL),
            Target(replica.host, replica.http_port, credential, MODEL),
        )
    finally:
        launch.stop()
