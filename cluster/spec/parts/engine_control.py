"""Paths that steer an engine or show its inside: no client gets to them, neither at a gateway nor at a replica."""

import re
from functools import lru_cache
from typing import Final

CONTROL_PATHS: Final = frozenset(
    {
        # vLLM's
        "/abort_requests",
        "/collective_rpc",
        "/fault_tolerance",
        "/finish_weight_update",
        "/get_world_size",
        "/inference/v1/abort_requests",
        "/init_weight_transfer_engine",
        "/is_paused",
        "/is_scaling_elastic_ep",
        "/is_sleeping",
        "/kv_event_sources",
        "/load",
        "/pause",
        "/release_kv_cache_memory",
        "/reset_encoder_cache",
        "/reset_mm_cache",
        "/reset_prefix_cache",
        "/resume",
        "/scale_elastic_ep",
        "/server_info",
        "/shutdown_weight_transfer_engine",
        "/sleep",
        "/start_draft_weight_update",
        "/start_profile",
        "/start_weight_update",
        "/stop_profile",
        "/tokenizer_info",
        "/update_weight_version",
        "/update_weights",
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
        "/wake_up",
        "/weight_checker",
        "/weight_info",
        # SGLang's
        "/abort_request",
        "/close_session",
        "/configure_logging",
        "/continue_generation",
        "/flush_cache",
        "/freeze_gc",
        "/get_internal_state",
        "/get_load",
        "/get_server_info",
        "/get_weights_by_name",
        "/init_weights_update_group",
        "/load_lora_adapter",
        "/open_session",
        "/pause_generation",
        "/release_memory_occupation",
        "/resume_memory_occupation",
        "/set_internal_state",
        "/slow_down",
        "/start_expert_distribution_record",
        "/stop_expert_distribution_record",
        "/dump_expert_distribution_record",
        "/unload_lora_adapter",
        "/update_weights_from_disk",
        "/update_weights_from_distributed",
        "/update_weights_from_tensor",
    }
)
"""Paths that vLLM 0.32 and SGLang answer, some of them only where they are switched on."""
_BELOW: Final = ("/fault_tolerance/",)
"""How paths begin of which all steer an engine."""
_SLASHES: Final = re.compile(r"[/\\]+")


@lru_cache(maxsize=256)
def controls_engine(path: str) -> bool:
    """Tell whether a path steers an engine, also in other spellings that a server could take for it.

    Args:
        path: the path, decoded, without the query.
    """
    segments: list[str] = []
    for sent in _SLASHES.split(path.lower()):
        segment = sent.partition(";")[0].strip()
        if segment == "..":
            del segments[-1:]
        elif segment not in {"", "."}:
            segments.append(segment)
    plain = "/" + "/".join(segments)
    return plain in CONTROL_PATHS or plain.startswith(_BELOW)


def passed_on(path: str) -> str:
    """Return a path that may be passed on to engines.

    Raises:
        ValueError: it steers an engine.
    """
    if controls_engine(path):
        raise ValueError(f"{path} manages an engine, so no client may get to it; ask the replica itself")
    return path
