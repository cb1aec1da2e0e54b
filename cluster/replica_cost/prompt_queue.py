"""How many prompts a replica computes that does nothing else, and how long they wait for one another.

So do replicas of a prefill pool, and those of a model that answers once a prompt is computed.
"""

import math
from typing import Final

from cluster.replica_cost.cost_model import ReplicaCost, Work
from cluster.replica_cost.queueing import queue_wait_s

_HALVINGS: Final = 40


def prefill_per_s(
    busy_s: float, wait_s: float, spread: float = 0.0, share: float | None = None, ranks: int = 1
) -> float:
    """Return the requests a second whose prompts a rank computes so that they wait no longer than `wait_s` seconds.

    Args:
        busy_s: mean seconds that a rank works on one prompt.
        wait_s: the wait in seconds, above 0.
        spread: standard deviation of that work divided by its mean.
        share: share of the prompts that wait no longer; None: their mean wait is this.
        ranks: ranks that work one queue off together.
    """
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_short = queue_wait_s(busy_s, middle, spread, share, ranks) <= wait_s
        low, high = (middle, high) if is_short else (low, middle)
    return low / busy_s


def prompt_s(cost: ReplicaCost, work: Work) -> float:
    """Return the seconds that a replica takes to compute the prompt of a mean request, alone."""
    chunks = math.ceil(work.new_tokens / cost.step_tokens)
    return chunks * cost.step(0, work.new_tokens / chunks, work).total


def busy_s(cost: ReplicaCost, work: Work) -> float:
    """Return the seconds that a rank works on the prompt of a mean request: of several in one step, its share."""
    alone_s = prompt_s(cost, work)
    share = work.new_tokens / cost.step_tokens
    return min(alone_s, share * cost.step(0, cost.step_tokens, work).total) if share < 1 else alone_s
