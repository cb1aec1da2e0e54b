"""The state of an engine with data-parallel ranks, put together from theirs."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from deployments.engines.fetch_meter import FetchStats
from deployments.engines.interface import EngineStats
from router.replicas.speculation_report import together
from router.replicas.step_report import of_ranks


def whole_of(ranks: Sequence[EngineStats]) -> EngineStats:
    """Return the state of all ranks as one.

    Ranks whose rate is not known yet count as the mean of the others: they are equal, and only had no work so far.
    """
    first = ranks[0]
    if len(ranks) == 1:
        return first
    return replace(
        first,
        running=sum(each.running for each in ranks),
        waiting=sum(each.waiting for each in ranks),
        waiting_tokens=sum(each.waiting_tokens for each in ranks),
        kv_usage=sum(each.kv_usage for each in ranks) / len(ranks),
        kv_capacity_tokens=sum(each.kv_capacity_tokens for each in ranks),
        prefill_tokens_per_s=_summed_rate(each.prefill_tokens_per_s for each in ranks),
        decode_tokens_per_s=_summed_rate(each.decode_tokens_per_s for each in ranks),
        step_tokens=sum(each.step_tokens for each in ranks),
        speculation=together([each.speculation for each in ranks if each.speculation is not None]),
        steps=of_ranks([each.steps for each in ranks if each.steps is not None]),
        fetches=_fetches([each.fetches for each in ranks if each.fetches is not None]),
    )


def _summed_rate(rates: Iterable[float]) -> float:
    """Return the rate of all ranks; 0: none is known."""
    each = list(rates)
    known = [rate for rate in each if rate]
    return sum(known) / len(known) * len(each) if known else 0.0


def _fetches(ranks: Sequence[FetchStats]) -> FetchStats | None:
    if not ranks:
        return None
    mean_s = sum(each.s_per_token for each in ranks) / len(ranks)
    return FetchStats(sum(each.fetched_tokens for each in ranks), mean_s)
