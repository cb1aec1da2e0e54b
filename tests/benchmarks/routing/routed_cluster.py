"""A whole RackServe cluster with three vLLM replicas of small KV caches: gateways know exactly what each one caches."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from cluster.spec.cluster_spec import ClusterSpec
from deployments.launch.application import Launch
from deployments.launch.progress import Progress
from tests.benchmarks.engine_dtype import engine_dtype
from tests.benchmarks.load_plan import API_KEY
from tests.benchmarks.one_replica_cluster import MODEL
from tests.benchmarks.routing.plain_engines import BLOCK_TOKENS, ENGINE_ENV, ENGINES, KV_BLOCKS
from tests.benchmarks.token_streams import Target
from tests.free_ports import free_port

CLUSTER_NAME: Final = "bench-routing"


def _spec(policy: str) -> ClusterSpec:
    return ClusterSpec.model_validate(
        {
            "cluster": {"name": CLUSTER_NAME, "serve_port": free_port()},
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
                    "replicas": ENGINES,
                    "policy": policy,
                    "cpus": 0.5,
                    "engine_args": {
                        "dtype": engine_dtype(),
                        "max_model_len": 2048,
                        "max_num_seqs": 16,
                        "block_size": BLOCK_TOKENS,
                        "num_gpu_blocks_override": KV_BLOCKS,
                        "kv_cache_memory_bytes": 1 << 30,
                    },
                    "env": ENGINE_ENV,
                }
            ],
        }
    )


@contextmanager
def routed_cluster(policy: str, report: Callable[[Progress], None]) -> Iterator[Target]:
    """Run the cluster as `rackserve serve` does, for as long as the context lasts, and give its gateway to an app.

    Args:
        policy: how its gateway picks replicas.
        report: called with the progress while it starts.

    Raises:
        ClusterError: it did not come up.
    """
    spec = _spec(policy)
    launch = Launch(spec)
    try:
        launch.start(lambda: False)
        launch.wait_until_ready(report, lambda: False)
        yield Target(spec.gateway.host, spec.gateway.port, API_KEY, MODEL)
    finally:
        launch.stop()
