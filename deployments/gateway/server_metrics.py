"""How much a plain server's KV cache holds, from its own `/metrics`: vLLM says so in `vllm:cache_config_info`."""

from typing import Final

from prometheus_client.parser import text_string_to_metric_families

_NAME: Final = "vllm:cache_config_info"


def kv_tokens_of(metrics: str) -> int:
    """Return the tokens that all of a server's engines hold in KV cache; 0: the metrics don't say.

    Args:
        metrics: what the server answers at `/metrics`.
    """
    lines = [line for line in metrics.splitlines() if line.startswith(f"{_NAME}{{")]
    tokens = 0
    try:
        for family in text_string_to_metric_families("\n".join([*lines, ""])):
            for sample in family.samples:
                # One line an engine, each with the blocks of all engines; each engine's first block holds nothing.
                blocks = int(sample.labels["num_gpu_blocks"]) - len(lines)
                tokens = max(tokens, blocks * int(sample.labels["block_size"]))
    except (ValueError, KeyError):
        return 0  # some other server's metric of that name, or an engine that has not measured its memory yet
    return tokens
