"""Reads a plain server's `/metrics`: the size of its KV cache, as vLLM gives it, and when its process started."""

from typing import Final

from prometheus_client.parser import text_string_to_metric_families

_NAME: Final = "vllm:cache_config_info"
_STARTED: Final = "process_start_time_seconds"
"""Prometheus' clients give it for each process, in Unix seconds."""


def kv_tokens_of(metrics: str) -> int:
    """Return how many tokens fit into the KV caches of all of a server's engines; 0: the metrics don't say.

    Args:
        metrics: the server's answer at `/metrics`.
    """
    lines = [line for line in metrics.splitlines() if line.startswith(f"{_NAME}{{")]
    tokens = 0
    try:
        for family in text_string_to_metric_families("\n".join([*lines, ""])):
            for sample in family.samples:
                # One line per engine, each with the blocks of all engines; each engine's first block holds no tokens.
                blocks = int(sample.labels["num_gpu_blocks"]) - len(lines)
                tokens = max(tokens, blocks * int(sample.labels["block_size"]))
    except (ValueError, KeyError):
        return 0  # another server's metric of that name, or an engine that has not measured its memory yet
    return tokens


def started_s_of(metrics: str) -> float:
    """Return when a server's process started, Unix seconds; 0: the metrics don't say.

    Args:
        metrics: the server's answer at `/metrics`.
    """
    for line in metrics.splitlines():
        name, _, value = line.partition(" ")
        if name == _STARTED:
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 0.0
