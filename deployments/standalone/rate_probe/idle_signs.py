"""Tells from a server's `/metrics` whether requests run there, which may be another gateway's."""

from typing import Final

_RUNNING: Final = "vllm:num_requests_running"
_WAITING: Final = "vllm:num_requests_waiting"


def is_idle(metrics: str) -> bool:
    """Return whether the engines of a server say that they have no requests; False where they say nothing of them.

    Args:
        metrics: the server's answer at `/metrics`.
    """
    told = set()
    for line in metrics.splitlines():
        name, _, rest = line.partition("{")
        if name not in {_RUNNING, _WAITING}:
            continue
        try:
            if float(rest.rpartition(" ")[2]) > 0.0:
                return False
        except ValueError:
            return False
        told.add(name)
    return _RUNNING in told
