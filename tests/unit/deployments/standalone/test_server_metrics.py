"""A plain server's KV capacity, from its metrics."""

import pytest

from deployments.standalone.server_metrics import kv_tokens_of, started_s_of

_VLLM = """# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="32",cache_dtype="auto",engine="0",num_gpu_blocks="256",sliding_window="None"} 1.0
vllm:cache_config_info{block_size="32",cache_dtype="auto",engine="1",num_gpu_blocks="256",sliding_window="None"} 1.0
vllm:num_requests_running{engine="0",model_name="m"} 0.0
"""


def test_the_blocks_of_all_engines_count_once() -> None:
    """Each of two engines says 256 blocks of 32 tokens for both together, and each keeps one block empty."""
    assert kv_tokens_of(_VLLM) == 254 * 32


def test_what_is_not_said_is_not_known() -> None:
    """Other servers, broken text and engines that have not measured their memory give 0, no error."""
    assert kv_tokens_of("") == 0
    assert kv_tokens_of("sglang:num_running_reqs 3\n") == 0
    assert kv_tokens_of(_VLLM.replace('"256"', '"None"')) == 0
    assert kv_tokens_of('vllm:cache_config_info{block_size="32"} 1.0\n') == 0
    assert kv_tokens_of('vllm:cache_config_info{block_size="32') == 0


@pytest.mark.parametrize(
    ("metrics", "started_s"),
    [
        ("", 0.0),
        ("# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 1.76e+09\n", 1.76e9),
        ("process_start_time_seconds soon\n", 0.0),
        ("other_process_start_time_seconds 3\n", 0.0),
    ],
)
def test_when_the_process_started_is_read(metrics: str, started_s: float) -> None:
    """Prometheus' clients tell it; without it no restart is seen."""
    assert started_s_of(metrics) == started_s
