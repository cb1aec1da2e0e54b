"""Values files of other stacks, converted to ours by hand: what their authors asked for is what runs."""

import yaml

from tests.integration.helm.chart import CHART, pods, ray_service, scenario, worker_groups
from tests.integration.helm.test_pods import spec_of

PRODUCTION_STACK = scenario("from-production-stack")
LLM_D = scenario("from-llm-d")


def test_the_production_stacks_replicas_offload_their_cache() -> None:
    """Two replicas of one GPU, 10 CPUs and 40 GiB, 20 GB of host memory for KV blocks, routed by session."""
    service = ray_service(PRODUCTION_STACK)
    (model,) = spec_of(service).models
    assert (model.replicas.min, model.engine_args["max_model_len"], model.policy) == (2, 16384, "consistent_hash")
    assert model.kv_cache.offload is not None
    assert model.kv_cache.offload.cpu_gb == 20
    assert worker_groups(service)["mistral"]["replicas"] == 2
    limits = pods(PRODUCTION_STACK)["mistral"]["containers"][0]["resources"]["limits"]
    assert {key: str(limits[key]) for key in ("cpu", "memory", "nvidia.com/gpu")} == {
        "cpu": "10", "memory": "40Gi", "nvidia.com/gpu": "1",
    }  # fmt: skip


def test_llm_ds_pools_have_their_own_sizes() -> None:
    """One replica of four GPUs decodes what two of one GPU compute; each pool's nodes are as large as it needs."""
    service = ray_service(LLM_D)
    (model,) = spec_of(service).models
    pools = {pool.pool: pool for pool in model.in_pools()}
    assert {name: (pool.parallel.gpus, pool.replicas.min) for name, pool in pools.items()} == {
        "decode": (4, 1), "prefill": (1, 2),
    }  # fmt: skip
    assert pools["prefill"].engine_args == {
        "block_size": 128, "max_model_len": 4096, "gpu_memory_utilization": 0.95,
    }  # fmt: skip
    groups = worker_groups(service)
    assert {name: groups[name]["replicas"] for name in pools} == {"decode": 1, "prefill": 2}
    assert all("ray.io/gpu-domain" not in groups[name]["labels"] for name in pools)  # pods of parts of a box
    limits = {name: pods(LLM_D)[name]["containers"][0]["resources"]["limits"] for name in pools}
    assert {name: str(found["rdma/ib"]) for name, found in limits.items()} == {"decode": "1", "prefill": "1"}


def test_the_readme_shows_each_beside_the_original() -> None:
    """Both files are named there with what they come from, and say so themselves."""
    readme = (CHART / "README.md").read_text()
    for file, origin in ((PRODUCTION_STACK, "values-06-shared-storage.yaml"), (LLM_D, "ms-pd/values.yaml")):
        assert f"ci/{file.name}" in readme
        assert origin in readme
        assert origin in file.read_text().splitlines()[0]
        assert yaml.safe_load(file.read_text())["clusterFile"]["models"]
