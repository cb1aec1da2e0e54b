"""The state of an engine, put together from its data-parallel ranks'."""

from dataclasses import replace

from deployments.engines.fetch_meter import FetchStats
from deployments.engines.interface import EngineStats
from deployments.engines.rank_stats import whole_of
from router.replicas.media_report import MediaReport
from router.replicas.speculation_report import SpeculationReport

BUSY = EngineStats(
    running=3,
    waiting=2,
    waiting_tokens=500,
    kv_usage=0.5,
    kv_capacity_tokens=1000,
    prefill_tokens_per_s=400.0,
    decode_tokens_per_s=60.0,
    step_tokens=2048,
    media=MediaReport(fetched=7),
)


def test_one_rank_is_the_whole() -> None:
    """An engine without data parallelism tells what its scheduler tells."""
    assert whole_of([BUSY]) is BUSY


def test_counts_and_rates_add_up_and_shares_are_means() -> None:
    """A rank that had no work yet counts as fast as the others; media are the engine's, and told once."""
    idle = EngineStats(0, 0, 0, 0.0, 1000, 0.0, 0.0, 2048)
    assert whole_of([BUSY, idle]) == EngineStats(
        running=3,
        waiting=2,
        waiting_tokens=500,
        kv_usage=0.25,
        kv_capacity_tokens=2000,
        prefill_tokens_per_s=800.0,
        decode_tokens_per_s=120.0,
        step_tokens=4096,
        media=MediaReport(fetched=7),
    )
    assert whole_of([idle, idle]).prefill_tokens_per_s == 0


def test_speculation_and_fetches_are_those_of_all_ranks() -> None:
    """Counts add up; a speed-up that a rank does not know yet is not taken for none."""
    first = replace(BUSY, speculation=SpeculationReport(10, 40, (9, 5), 2.5, 1.8), fetches=FetchStats(100, 0.001))
    second = replace(BUSY, speculation=SpeculationReport(2, 8, (2,), 1.5, 0.0), fetches=FetchStats(50, 0.003))
    whole = whole_of([first, second])
    assert whole.speculation == SpeculationReport(12, 48, (11, 5), 2.0, 1.8)
    assert whole.fetches == FetchStats(150, 0.002)
