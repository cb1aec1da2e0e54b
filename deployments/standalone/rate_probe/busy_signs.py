"""Tells from a server's `/metrics` whether requests run there, which may be another gateway's."""

from typing import Final

_RUNNING: Final = (
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "sglang:num_running_reqs",
    "sglang:num_queue_reqs",
    "llamacpp:requests_processing",
    "llamacpp:requests_deferred",
    "tgi_batch_current_size",
    "tgi_queue_size",
)
"""Gauges of requests that run or wait, in the engines' own words."""


def is_busy(metrics: str) -> bool:
    """Return whether an engine says that it has requests; False also where it says nothing of them.

    Args:
        metrics: the server's answer at `/metrics`.
    """
    for line in metrics.splitlines():
        if line.startswith(_RUNNING):
            try:
                if float(line.rsplit(" ", 1)[1]) > 0.0:
                    return True
            except (ValueError, IndexError):
                continue
    return False
