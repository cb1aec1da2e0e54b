"""How many prompts a replica computes that does nothing else, and how long they wait for one another.

So do replicas of a prefill pool, and those of a model that answers once a prompt is computed.
"""

import math
from typing import Final

from cluster.planning.cost_model import ReplicaCost, Steady, Work
from cluster.planning.plan_file import Slo
from cluster.planning.queueing import queue_wait_s

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


def pooled(cost: ReplicaCost, work: Work, slo: Slo, requests_per_s: float | None = None) -> Steady:
    """Return a replica of a model that answers once a prompt is computed, without pipeline stages.

    Args:
        cost: the replica.
        work: size of requests.
        slo: its `ttft_s` is the time to the answer.
        requests_per_s: requests a second of the replica; None: as many as it serves within the SLO. Where even one
            request alone takes longer these are none, and `ttft_s` is that one's.
    """
    ranks, each_s = cost.layout.data, busy_s(cost, work)
    alone_s = prompt_s(cost, work) + cost.coefficients.first_token_s + work.fetch_s
    wait_s = slo.ttft_s - alone_s
    if requests_per_s is None:
        per_rank = prefill_per_s(each_s, wait_s, work.input_spread, slo.share, ranks) if wait_s > 0 else 0.0
    else:
        per_rank = requests_per_s / ranks
        wait_s = queue_wait_s(each_s, per_rank * each_s, work.input_spread, slo.share, ranks)
    ttft_s = alone_s + max(0.0, wait_s)
    tokens = min(cost.step_tokens, work.new_tokens)
    return Steady(
        batch=max(1, round(per_rank * ttft_s)),
        tpot_s=0.0,
        ttft_s=ttft_s,
        output_tokens_per_s=per_rank * ranks,
        requests_per_s=per_rank * ranks,
        prefill_share=min(1.0, per_rank * each_s),
        step=cost.step(0, tokens, work),
    )
