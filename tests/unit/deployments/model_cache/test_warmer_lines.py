"""What people read of nodes that download."""

from deployments.model_cache.here import CacheState
from deployments.model_cache.warmer import lines_of


def test_a_line_for_each_model_and_one_for_each_reason() -> None:
    """How many have it, how far those are that download, and where it cannot be had, each reason once."""
    states = {
        "10.0.0.11": [CacheState("org/a", 0, 0, ready_s=0.2), CacheState("org/b", problem="no room")],
        "10.0.0.12": [CacheState("org/a", 30 * 10**9, 60 * 10**9), CacheState("org/b", problem="no room")],
        "10.0.0.13": [CacheState("org/a", 0, 60 * 10**9), CacheState("org/b")],
        "10.0.0.14": [CacheState("org/a")],
    }
    assert lines_of(states) == [
        "weights of org/a: on 1 of 4 machines, 2 downloading (25% of 120.0 GB)",
        "weights of org/b: on 0 of 3 machines",
        "weights of org/b: not on 10.0.0.11, 10.0.0.12: no room",
    ]
    assert lines_of({}) == []
