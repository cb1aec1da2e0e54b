"""KV blocks beyond GPU memory in vLLM's terms: its `OffloadingConnector`, alone or beside that which passes blocks on.

Blocks of prompts are copied to host memory as they are computed, and from there to files at once.
The copying itself is vLLM's on GPUs, where it was not run, and ours on CPUs (`cpu/offload.py`).
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cluster.errors import EngineStartError
from cluster.spec.kv_duties import KvDuties
from cluster.spec.model_parts.kv_cache_spec import GB, OffloadSpec
from deployments.engines.vllm.kv.transfer import SEVERAL, as_mapping, connectors_of

CONNECTOR: Final = "OffloadingConnector"
NEEDS_GPU: Final = frozenset({CONNECTOR, "SimpleCPUOffloadConnector"})
"""Connectors whose own workers refuse to run on a CPU, once the model is loaded."""
SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - where vLLM puts it
"""Where vLLM keeps the blocks in host memory, as one file for all ranks on a machine."""


def with_offloading(passing: object, offload: OffloadSpec, *, cpu: bool = False) -> object:
    """Return the argument `kv_transfer_config` with offloading, beside the connector that it has already.

    Args:
        passing: the argument as duties and user have it; None: there is none.
        offload: where blocks are kept.
        cpu: vLLM is built for CPUs.

    Returns:
        A mapping; where nothing is kept, and for an argument of a wrong form, which vLLM's parser refuses, `passing`.
    """
    given = as_mapping(passing)
    if not offload or given is None:
        return passing
    parts = connectors_of(given)
    own = next((part for part in parts if part["kv_connector"] == CONNECTOR), None)
    if own is not None and own is not given:
        return passing  # the user's own choice, among several
    if not parts or own is not None:
        extra = given.get("kv_connector_extra_config", {})
        if isinstance(extra, Mapping):
            given = {**given, "kv_connector_extra_config": {**_settings(offload, cpu=cpu), **extra}}
        return {**_connector(offload, cpu=cpu), **given}
    # vLLM fetches from the first connector that has a prompt: another replica's blocks come before the own host's.
    whole = {key: given[key] for key in ("kv_role", "kv_load_failure_policy", "engine_id") if key in given}
    own_parts = [{key: value for key, value in part.items() if key != "engine_id"} for part in parts]
    return {
        "kv_load_failure_policy": "recompute",
        "kv_role": "kv_both",
        **whole,
        "kv_connector": SEVERAL,
        "kv_connector_extra_config": {"connectors": [*own_parts, _connector(offload, cpu=cpu)]},
    }


def _connector(offload: OffloadSpec, *, cpu: bool) -> dict[str, Any]:
    return {
        "kv_connector": CONNECTOR,
        "kv_role": "kv_both",
        "kv_load_failure_policy": "recompute",
        "kv_connector_extra_config": _settings(offload, cpu=cpu),
    }


def _settings(offload: OffloadSpec, *, cpu: bool) -> dict[str, Any]:
    settings: dict[str, Any] = {"cpu_bytes_to_use": offload.cpu_bytes, "self_describing_kv_events": True}
    if offload.disk_bytes:
        disk = {
            "type": "BoundedDiskTier",
            "module_path": "deployments.engines.vllm.kv.disk_tier",
            "root_dir": offload.disk_path,
            "most_bytes": offload.disk_bytes,
        }
        settings |= {"spec_name": "TieringOffloadingSpec", "secondary_tiers": [disk]}
    if cpu:
        name = "HostTieringSpec" if offload.disk_bytes else "HostOffloadingSpec"
        settings |= {"spec_name": name, "spec_module_path": "deployments.engines.vllm.cpu.offload"}
    return settings


def check_offloading(arguments: Mapping[str, Any], offload: OffloadSpec, duties: KvDuties, *, cpu: bool) -> None:
    """Check what offloading needs on this machine, which takes milliseconds; vLLM tells after it has loaded the model.

    Args:
        arguments: vLLM's arguments, as `env.engine_arguments` gives them.
        offload: the model's own.
        duties: which KV blocks the engine passes on.
        cpu: vLLM is built for CPUs.

    Raises:
        EngineStartError: offloading cannot work here; the message says why.
    """
    parts = connectors_of(as_mapping(arguments.get("kv_transfer_config")) or {})
    own_size = arguments.get("kv_offloading_size") is not None
    if cpu and (own_size or any(_needs_gpu(part) for part in parts)):
        raise EngineStartError(
            "engine_args: vLLM's worker for KV blocks in host memory needs a GPU, and the vLLM here is built for CPUs; "
            "kv_cache.offload has one of its own for them"
        )
    if own_size and duties:
        raise EngineStartError(
            "engine_args.kv_offloading_size: vLLM would then pass no KV blocks on to the model's other pools; give "
            "kv_cache.offload.cpu_gb in its place"
        )
    if offload and not own_size and any(part["kv_connector"] == CONNECTOR for part in parts):
        _check_room(offload, is_shared=bool(offload.disk_bytes) or not cpu)


def _needs_gpu(connector: Mapping[str, Any]) -> bool:
    """Tell whether a connector copies by vLLM's own worker, which needs a GPU."""
    extra = connector.get("kv_connector_extra_config")
    has_other = isinstance(extra, Mapping) and "spec_module_path" in extra
    return connector["kv_connector"] in NEEDS_GPU and not has_other


def _check_room(offload: OffloadSpec, *, is_shared: bool) -> None:
    if is_shared and Path(SHARED_MEMORY).is_dir():
        free = shutil.disk_usage(SHARED_MEMORY).free
        if free < offload.cpu_bytes:
            raise EngineStartError(
                f"kv_cache.offload.cpu_gb is {offload.cpu_gb:g}, but {SHARED_MEMORY}, where vLLM keeps these blocks, "
                f"has {free / GB:.1f} GB free; give less, or give a container more shared memory"
            )
    if offload.disk_path:
        try:
            Path(offload.disk_path).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EngineStartError(f"kv_cache.offload.disk_path: {error}") from error
        if not os.access(offload.disk_path, os.W_OK | os.X_OK):
            raise EngineStartError(f"kv_cache.offload.disk_path: {offload.disk_path} cannot be written to")
