"""A server counts as idle only by its own word."""

import pytest

from deployments.standalone.rate_probe.idle_signs import is_idle

IDLE = 'vllm:num_requests_running{engine="0"} 0.0\nvllm:num_requests_waiting{engine="0"} 0.0\nvllm:x{} 7\n'


@pytest.mark.parametrize(
    ("metrics", "right"),
    [
        (IDLE, True),
        (IDLE + 'vllm:num_requests_running{engine="1"} 2.0\n', False),
        (IDLE + 'vllm:num_requests_waiting{engine="1"} 1.0\n', False),
        (IDLE + 'vllm:num_requests_waiting_by_reason{reason="x"} 1.0\n', True),
        ('vllm:num_requests_waiting{engine="0"} 0.0\n', False),
        ("# HELP vllm:num_requests_running Number of requests.\n", False),
        ("vllm:num_requests_running{} nothing\n", False),
        ("", False),
    ],
)
def test_only_engines_that_say_so_are_idle(metrics: str, right: bool) -> None:  # noqa: FBT001 - parametrized
    """Every engine of the server must say that none of its requests runs or waits."""
    assert is_idle(metrics) is right
