"""A model that answers once a prompt is computed: what a replica of it serves, and how soon it answers."""

from cluster.planning.plan_file import Slo
from cluster.replica_cost.cost_model import ReplicaCost, Steady, Work
from cluster.replica_cost.prompt_queue import busy_s, prefill_per_s, prompt_s
from cluster.replica_cost.queueing import queue_wait_s


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
