"""The benchmark of disaggregation: its loads are as told, goodput is the last rate that holds, the rules obey."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import pytest

from deployments.simulator.disaggregation.fleet import run_pools
from tests.benchmarks.disaggregation.contest import OURS, RULES, contest, figures, live_dispatcher
from tests.benchmarks.disaggregation.fixed_rule import ALWAYS, FixedRule
from tests.benchmarks.disaggregation.fleets import one_pool, planned, two_pools
from tests.benchmarks.disaggregation.goodput import RATE_STEP, goodput, is_within_limits
from tests.benchmarks.disaggregation.loads import bursty, steady
from tests.benchmarks.disaggregation.workloads import (
    CALM,
    CHATS,
    DOCUMENTS,
    NAMES,
    RECORDED_NAME,
    SHORT_CHATS,
    Workload,
    work_of,
    workload,
)
from tests.benchmarks.server_process import ROOT

SEED = 1


def short(name: str, count: int = 150) -> Workload:
    """Return the first requests of a workload."""
    found = workload(name, SEED, short=True)
    assert found is not None
    return replace(found, requests=found.requests[:count])


def test_the_workloads_span_what_is_promised() -> None:
    """At least twelve; prompts of 200 to 60 000 tokens, answers of 50 to 4 000, hit ratios of 0 to above 0.8."""
    drawn = [workload(name, SEED) for name in NAMES if name != RECORDED_NAME]
    works = [load.work for load in drawn if load is not None]
    assert len(works) >= 12
    assert min(work.input_tokens for work in works) < 210
    assert max(work.input_tokens for work in works) > 55_000
    assert min(work.output_tokens for work in works) < 52
    assert max(work.output_tokens for work in works) > 3_500
    assert min(work.prefix_hit for work in works) == 0.0
    assert max(work.prefix_hit for work in works) > 0.8


def test_the_same_seed_draws_the_same_load() -> None:
    """To the last hash; another seed draws another."""

    def drawn(seed: int) -> list[tuple[float, int, int, list[int]]]:
        requests = steady({CHATS: 0.5, DOCUMENTS: 0.5}, 200, Random(seed))
        return [(each.at, each.prompt_tokens, each.output_tokens, each.chain.hashes) for each in requests]

    assert drawn(1) == drawn(1) != drawn(2)


def test_prompts_share_what_their_kind_says() -> None:
    """Chats have 0.7 of their tokens in common with others, of which each prefix is new once."""
    work = work_of(steady({CHATS: 1.0}, 4_000, Random(SEED)))
    assert work.input_tokens == pytest.approx(CHATS.prompt_tokens, rel=0.1)
    assert work.output_tokens == pytest.approx(CHATS.output_tokens, rel=0.05)
    assert work.prefix_hit == pytest.approx(CHATS.hit, abs=0.06)


def test_bursts_keep_the_mean_rate() -> None:
    """One request a unit of time on average; two in five come in bursts, and all documents."""
    requests = bursty(CALM, {DOCUMENTS: 1.0}, 3_000, Random(SEED))
    assert requests[-1].at == pytest.approx(3_000, rel=0.08)
    share = sum(request.kind == DOCUMENTS.name for request in requests) / len(requests)
    assert share == pytest.approx(0.44, abs=0.05)


def test_goodput_is_the_last_rate_that_holds() -> None:
    """At it enough requests are in time, and one step above it they are not, from any first guess."""
    load, fleet, dispatcher = short("documents"), one_pool(512), partial(live_dispatcher, SEED)
    found = goodput(load, fleet, dispatcher, 3.0)
    assert is_within_limits(load, fleet, dispatcher, found.per_s)
    assert not is_within_limits(load, fleet, dispatcher, found.per_s * RATE_STEP)
    assert found.run is not None
    assert found.run.missed <= 0.05 * len(load.measured)


def test_the_rules_do_as_told() -> None:
    """Always apart; above a number of tokens; never, where no prompt is longer than that. Nothing is left held."""
    requests = steady({SHORT_CHATS: 0.5, DOCUMENTS: 0.5}, 120, Random(SEED))
    for above, kinds in ((ALWAYS, {SHORT_CHATS.name, DOCUMENTS.name}), (2_000, {DOCUMENTS.name}), (200_000, set())):
        run = run_pools(requests, 3.0, two_pools(4), FixedRule(above, SEED), measured=range(120))
        assert {fate.request.kind for fate in run.fates if fate.apart} == kinds
        assert all(fate.last_s is not None for fate in run.fates)
        assert run.held_blocks == 0


def test_the_planner_divides_the_fleet_by_the_load() -> None:
    """Long prompts with short answers want more prefill replicas than chats, and reasoning one or none."""
    books, reasoning = planned(short("books")), planned(short("reasoning"))
    assert books.is_apart
    assert books.prefill > reasoning.prefill
    assert books.prefill + books.decode == reasoning.prefill + reasoning.decode == 8


def test_a_contest_repeats_to_the_digit() -> None:
    """Every contestant has a goodput, and the same seed gives the same figures."""
    load = short("labels", 60)
    first = contest(load, load, lambda _: None, SEED)
    assert {*RULES, OURS} <= set(first.reached)
    assert all(each.goodput.per_s > 0 for each in first.reached.values())
    assert figures(contest(load, load, lambda _: None, SEED)) == figures(first)


@pytest.mark.long
def test_the_command_shows_and_writes_what_came_of_it(tmp_path: Path) -> None:
    """A line for each bar, JSON, and a plot."""
    command = [sys.executable, "-m", "tests.benchmarks.disaggregation.bench_disaggregation", "--quick"]
    ran = subprocess.run(
        [*command, "--workloads", "documents,mix", "--results", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode in {0, 1}, ran.stdout + ran.stderr
    assert ran.stdout.count("BAR ") == 5
    assert set(json.loads((tmp_path / "bench-disaggregation.json").read_text())["workloads"]) == {"documents", "mix"}
    assert (tmp_path / "bench-disaggregation.png").stat().st_size > 10_000
