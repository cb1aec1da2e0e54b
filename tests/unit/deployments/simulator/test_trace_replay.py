"""Trace replay: the trace's format, the virtual replicas, and what policies do with a trace."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.errors import PolicyError, TraceError
from deployments.simulator.block_cache import BlockCache
from deployments.simulator.prefill_replica import PrefillReplica
from deployments.simulator.replay import ReplaySettings, replay
from deployments.simulator.trace import BLOCK_TOKENS, TraceRequest, chunk_chain
from deployments.simulator.trace_file import read_trace
from router.scheduling.registry import POLICIES
from tests.data_files import MOONCAKE_TRACE


def _request(at_s: float, blocks: list[int]) -> TraceRequest:
    return TraceRequest(1000.0 * at_s, BLOCK_TOKENS * len(blocks), 10, blocks)


def _conversations(count: int, turns: int, gap_s: float) -> list[TraceRequest]:
    """Return chats whose turns each add two blocks to what came before; all begin with the same one."""
    trace = []
    for turn in range(turns):
        for chat in range(count):
            blocks = [0, *(1000 * (chat + 1) + at for at in range(2 * turn + 2))]
            trace.append(_request(gap_s * (turn * count + chat), blocks))
    return trace


def test_a_trace_is_read_in_the_order_of_its_times(tmp_path: Path) -> None:
    """Lines may be out of order and blank; fields that are not known are passed over."""
    path = tmp_path / "trace.jsonl"
    lines = [
        {"timestamp": 2000, "input_length": 600, "output_length": 5, "hash_ids": [1, 2], "user": "x"},
        {"timestamp": 1000, "input_length": 1, "output_length": 0, "hash_ids": [3]},
    ]
    path.write_text("\n\n".join(map(json.dumps, lines)) + "\n")
    trace = read_trace(path)
    assert [request.hash_ids for request in trace] == [[3], [1, 2]]
    assert len(read_trace(path, limit=1)) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no requests"),
        ("not json", "line 1: JSON is malformed"),
        ('{"timestamp": 0}', "line 1: Object missing required field `input_length`"),
        ('{"timestamp": "x", "input_length": 1, "output_length": 1, "hash_ids": [1]}', "line 1: Expected `float`"),
        ('{"timestamp": 0, "input_length": 0, "output_length": 1, "hash_ids": []}', "input_length must be 1 or more"),
        (
            '\n{"timestamp": 0, "input_length": 1025, "output_length": 1, "hash_ids": [1, 2]}',
            "line 2: 1025 input tokens are 3 blocks of 512, but there are 2 hash_ids",
        ),
    ],
)
def test_a_wrong_trace_says_which_line_and_what_would_be_right(tmp_path: Path, text: str, problem: str) -> None:
    """Users replay traces of their own."""
    path = tmp_path / "trace.jsonl"
    path.write_text(text)
    with pytest.raises(TraceError) as raised:
        read_trace(path)
    assert problem in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_trace_that_is_not_there_says_so(tmp_path: Path) -> None:
    """Not a traceback."""
    with pytest.raises(TraceError, match="No such file"):
        read_trace(tmp_path / "gone.jsonl")


def test_equal_ids_are_equal_prefixes() -> None:
    """Chains share as many leading chunks as traces share ids, whatever the seed spreads them to."""
    one, other = chunk_chain(_request(0, [1, 2, 3]), seed=5), chunk_chain(_request(1, [1, 2, 4]), seed=5)
    assert one.hashes[:2] == other.hashes[:2]
    assert one.hashes[2] != other.hashes[2]
    assert (one.tokens, list(one.ends)) == (3 * BLOCK_TOKENS, [2048, 4096, 6144])
    assert not set(one.hashes) & set(chunk_chain(_request(0, [1, 2, 3]), seed=6).hashes)


def test_the_cache_evicts_the_least_recently_used_and_ends_before_starts() -> None:
    """A prompt's start outlives its end."""
    cache = BlockCache(3)
    assert cache.use([1, 2, 3]) == []
    assert cache.use([4]) == [3]
    assert cache.matched([1, 2, 3]) == 2
    assert cache.use([9, 8, 7, 6]) == [2, 1, 4, 6] or len(cache) == 3
    assert cache.matched([9, 8, 7, 6]) == 3


def test_a_replica_prefills_one_prompt_after_the_other() -> None:
    """Time to first token is what waits before, plus what is not cached."""
    replica = PrefillReplica(kv_blocks=100, prefill_tokens_per_s=512.0)
    first = replica.accept(chunk_chain(_request(0, [1, 2]), 0), 1024, 0.0)
    second = replica.accept(chunk_chain(_request(0, [1, 2, 3]), 0), 1536, 0.5)
    assert (first.start_s, first.end_s, first.hit_blocks) == (0.0, 2.0, 0)
    assert (second.start_s, second.end_s, second.hit_blocks) == (2.0, 3.0, 2)
    report = replica.report(1.0)
    assert (report.waiting_tokens, report.waiting, report.accepted) == (1024, 2, 2)
    assert replica.delta() is None
    assert replica.report(3.0).waiting_tokens == 0
    delta = replica.delta()
    assert delta is not None
    assert len(delta.resident) == 3


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("exact", [True, False])
def test_a_replay_repeats_to_the_digit(policy: str, exact: bool) -> None:  # noqa: FBT001 - parametrized
    """The same trace and seed give the same figures; figures are what they are said to be."""
    trace = _conversations(count=30, turns=4, gap_s=0.02)
    settings = ReplaySettings(policy=policy, replicas=4, kv_blocks=80, exact=exact, seed=3)
    result = replay(trace, settings)
    assert result == replay(trace, settings)
    assert 0.0 <= result.hit_ratio <= result.ideal_hit_ratio < 1.0
    assert 1.0 <= result.imbalance <= 4.0
    assert result.ttft_p50_s <= result.ttft_p90_s <= result.ttft_p99_s
    assert result.requests == 120


def test_a_policy_that_insists_on_residency_is_not_replayed_without() -> None:
    """Told what caches hold it gives the figures of its relative; without it fails before the first request."""
    trace = _conversations(count=4, turns=2, gap_s=0.02)
    exact = replay(trace, ReplaySettings(policy="expected_ttft:exact", replicas=2))
    assert replace(exact, policy="expected_ttft") == replay(trace, ReplaySettings(replicas=2))
    with pytest.raises(PolicyError, match="needs residency of every replica"):
        replay(trace, ReplaySettings(policy="expected_ttft:exact", exact=False))


def test_the_ideal_is_counted_by_hand() -> None:
    """Of 3 + 5 blocks the second turn repeats 3; a chat of another kind repeats the first block."""
    trace = [_request(0, [0, 1, 2]), _request(9, [0, 1, 2, 3, 4]), _request(18, [0, 8])]
    result = replay(trace, ReplaySettings(policy="round_robin", replicas=1, kv_blocks=100))
    assert result.ideal_hit_ratio == pytest.approx(4 / 10)
    assert result.hit_ratio == result.ideal_hit_ratio
    assert result.imbalance == 1.0
    assert result.ttft_mean_s == pytest.approx((3 + 2 + 1) * BLOCK_TOKENS / 8000 / 3)


def test_with_time_between_turns_every_chat_finds_its_history() -> None:
    """Where nothing waits, expected_ttft loses no cache at all, and works are even."""
    trace = _conversations(count=24, turns=5, gap_s=2.0)
    result = replay(trace, ReplaySettings(replicas=4, kv_blocks=400))
    assert result.hit_ratio > 0.97 * result.ideal_hit_ratio
    assert result.imbalance < 2.5


def test_inferring_residency_is_nearly_as_good_as_being_told() -> None:
    """One gateway alone loses little without the replicas' word."""
    trace = _conversations(count=60, turns=5, gap_s=0.1)
    told, inferred = (replay(trace, ReplaySettings(replicas=4, kv_blocks=150, exact=exact)) for exact in (True, False))
    assert inferred.hit_ratio > 0.9 * told.hit_ratio


def test_an_unknown_policy_is_refused() -> None:
    """By name, before anything runs."""
    with pytest.raises(PolicyError, match="expected_ttft"):
        replay([_request(0, [1])], ReplaySettings(policy="expected_tft"))


MOONCAKE_ROUND_ROBIN_TTFT_S = 3.126
"""Round robin's mean on the same replicas; its hit ratio is 0.098 (`make bench-routing` has every policy)."""


@pytest.mark.skipif(MOONCAKE_TRACE.found() is None, reason=MOONCAKE_TRACE.why_skipped)
@pytest.mark.parametrize("exact", [True, False])
def test_the_mooncake_trace_holds_its_bars(exact: bool) -> None:  # noqa: FBT001 - parametrized
    """Hits near a pooled cache's, work even, under half of round robin's TTFT, the whole trace in seconds."""
    path = MOONCAKE_TRACE.found()
    assert path is not None
    trace = read_trace(path)
    began_s = time.process_time()
    ours = replay(trace, ReplaySettings(exact=exact))
    assert time.process_time() - began_s < 30.0
    assert ours.ideal_hit_ratio == pytest.approx(0.366, abs=0.001)
    assert ours.hit_ratio >= 0.31
    assert ours.imbalance <= 1.05
    assert ours.ttft_mean_s <= 0.45 * MOONCAKE_ROUND_ROBIN_TTFT_S
