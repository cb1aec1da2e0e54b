"""`rackserve top`: what gateways' metrics come to, what happened lately, and the screen."""

from io import StringIO

import pytest
from rich.console import Console

from deployments.commands.top.reading import Reading, read
from deployments.commands.top.recent import Recent, quantile
from deployments.commands.top.screen import screen

FIRST = """
# TYPE rackserve_requests_total counter
rackserve_requests_total{model="m",tenant="a",outcome="ok"} 90
rackserve_requests_total{model="m",tenant="a",outcome="replica_failed"} 10
rackserve_requests_total{model="",tenant="a",outcome="model_not_found"} 7
rackserve_waiting_requests{model="m",tenant="a",priority="normal"} 3
rackserve_expected_wait_seconds{model="m"} 0.5
rackserve_prefix_hit_ratio{model="m"} 0.6
rackserve_client_connections 5
rackserve_replica_accepting{model="m",replica="r1"} 0
rackserve_engine_reporting{model="m",replica="r1",domain="rack-0"} 1
rackserve_engine_running_requests{model="m",replica="r1",domain="rack-0"} 4
"""
SECOND = """
rackserve_requests_total{model="m",tenant="a",outcome="ok"} 50
rackserve_waiting_requests{model="m",tenant="a",priority="high"} 1
rackserve_expected_wait_seconds{model="m"} 2.5
rackserve_prefix_hit_ratio{model="m"} 0.8
rackserve_client_connections 2
rackserve_replica_accepting{model="m",replica="r1"} 1
rackserve_engine_reporting{model="m",replica="r1",domain="rack-0"} 1
rackserve_engine_running_requests{model="m",replica="r1",domain="rack-0"} 4
"""


def test_gateways_are_one_cluster() -> None:
    """Counts add up, a replica that two gateways tell of is one replica, ratios are averaged."""
    reading = read([FIRST, SECOND], 1.0)
    model, replica = reading.models["m"], reading.replicas["r1"]
    assert (reading.gateways, reading.connections, set(reading.models)) == (2, 7, {"m"})
    assert (model.requests, model.failed, model.waiting, model.expected_wait_s) == (150, 10, 4, 2.5)
    assert model.hit_ratio == pytest.approx(0.7)
    assert (replica.running, replica.domain, replica.accepting, replica.reporting) == (4, "rack-0", True, True)


def test_rates_are_those_of_the_last_seconds() -> None:
    """Rates are between the oldest reading within the window and the newest; a restarted gateway gives none."""
    recent = Recent()
    for second in range(30):
        reading = Reading(float(second))
        reading.models["m"].requests = 5.0 * second if second < 20 else 100.0 + 20 * (second - 20)
        recent.add(reading)
    assert recent.rates("m").requests_per_s == pytest.approx((280 - 95) / 10)
    recent.add(Reading(30.0))
    assert recent.rates("m").requests_per_s == 0.0


def test_quantile_lies_between_bounds() -> None:
    """As Prometheus has it: in proportion within a bucket; above the last bound, that bound; of nothing, nothing."""
    assert quantile(0.95, {0.1: 0.0, 0.5: 100.0, float("inf"): 100.0}) == pytest.approx(0.1 + 0.4 * 0.95)
    assert quantile(0.95, {0.1: 10.0, float("inf"): 100.0}) == pytest.approx(0.1)
    assert quantile(0.95, {0.1: 0.0, float("inf"): 0.0}) is None


def _shown(pages: list[str], *, width: int = 80, height: int = 24) -> list[str]:
    recent = Recent()
    recent.add(read(pages, 0.0))
    recent.add(read(pages, 1.0))
    console = Console(file=StringIO(), width=width, height=height)
    console.print(screen(recent, now="12:00:00", height=height, width=width))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]  # the StringIO above
    return [line.rstrip() for line in text.splitlines()]


def test_eighty_columns_hold_long_names_and_large_numbers() -> None:
    """No line is wider, every column is there, and names are cut where they can be told apart."""
    model, rack = "organisation/a-model-with-a-very-long-name", "a-rack-with-a-very-long-name"
    page = "\n".join(
        f'rackserve_engine_{name}{{model="{model}",replica="app#deployment#replica-{k}",domain="{rack}"}} {value}'
        for k in range(2)
        for name, value in (
            ("reporting", 1), ("running_requests", 123456), ("waiting_requests", 98765), ("kv_usage_ratio", 1.0),
            ("decode_tokens_per_second", 1234567),
        )
    )  # fmt: skip
    page += f'\nrackserve_requests_total{{model="{model}",tenant="t",outcome="ok"}} 123456789'
    page += f'\nrackserve_prefix_hit_ratio{{model="{model}"}} 1'
    page += f'\nrackserve_expected_wait_seconds{{model="{model}"}} 9999'
    page += f'\nrackserve_waiting_requests{{model="{model}",tenant="t",priority="low"}} 1234567\n'
    lines = _shown([page])
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for wanted in ("TTFB95", "BEST", "TOK/S", "KV IN USE", "replica-0", "replica-1", "2.5M", "123k", "100%", "9999s"):
        assert wanted in text, wanted


def test_what_does_not_fit_is_counted() -> None:
    """A hundred replicas on a small terminal: as many as fit, and how many more there are."""
    page = "\n".join(
        f'rackserve_engine_reporting{{model="m",replica="r{k:03}",domain="d{k // 9}"}} 1' for k in range(100)
    )
    page += '\nrackserve_requests_total{model="m",tenant="t",outcome="ok"} 1\n'
    lines = _shown([page])
    assert len(lines) <= 24
    shown = sum("r0" in line for line in lines)
    assert f"+{100 - shown} more" in lines[-1]


def test_a_silent_replica_is_not_shown_as_idle() -> None:
    """Where telemetry is silent the load is unknown, and that is said."""
    lines = _shown(['rackserve_engine_reporting{model="m",replica="r1",domain=""} 0\n'])
    assert "silent" in lines[-1]


def test_speculation_has_a_line_where_there_is_some() -> None:
    """Of a model whose replicas draft: how many drafted tokens are right, and what that brings; two gateways say it."""
    page = "\n".join(
        f'rackserve_speculation_{name}{{model="m",replica="r1",domain="d"{more}}} {value}'
        for name, more, value in (
            ("drafts_total", "", 100), ("draft_tokens_total", "", 200), ("accepted_tokens_total", ',position="0"', 90),
            ("accepted_tokens_total", ',position="1"', 60), ("tokens_per_step", "", 2.5), ("speedup", "", 1.9),
        )
    )  # fmt: skip
    page += '\nrackserve_requests_total{model="m",tenant="t",outcome="ok"} 9\n'
    (line,) = [line for line in _shown([page, page]) if line.startswith("speculation")]
    assert line == "speculation m: 1.90 × none, 2.5 tokens a step, 75% of drafts right (90% 60%)"  # noqa: RUF001 - its sign
    assert not [line for line in _shown([FIRST, SECOND]) if line.startswith("speculation")]


def test_replicas_are_shown_with_their_pool() -> None:
    """Of a model with pools; the model's own line counts all of them."""
    pages = [
        """
rackserve_replica_accepting{model="m",replica="r1",pool="fast"} 1
rackserve_engine_reporting{model="m",replica="r1",domain="d",pool="fast"} 1
rackserve_replica_accepting{model="m",replica="r2",pool="slow"} 1
rackserve_engine_reporting{model="m",replica="r2",domain="d",pool="slow"} 1
rackserve_requests_total{model="m",tenant="a",outcome="ok"} 9
"""
    ]
    lines = _shown(pages)
    (fast,), (slow,) = ([line for line in lines if name in line] for name in (" r1 ", " r2 "))
    assert "m:fast" in fast
    assert "m:slow" in slow
    (model,) = [line for line in lines if line.startswith("m ")]
    assert model.split()[1] == "2"


def test_ranks_are_shown_and_their_replica_counts_once() -> None:
    """A line for each data-parallel rank; a replica counts as accepting while one of its ranks does."""
    page = 'rackserve_requests_total{model="m",tenant="a",outcome="ok"} 1\n' + "\n".join(
        f'rackserve_{name}{{model="m",replica="r{replica}",pool="",rank="{rank}"}} {value}'
        for replica in (0, 1)
        for rank in (0, 1)
        for name, value in (
            ("replica_accepting", int(replica or rank)),
            ("engine_reporting", 1),
            ("engine_running_requests", 2 * replica + rank),
        )
    )
    reading = read([page, page], 1.0)
    assert reading.whole_replicas == 2
    assert {name: replica.running for name, replica in reading.replicas.items()} == {
        "r0.0": 0,
        "r0.1": 1,
        "r1.0": 2,
        "r1.1": 3,
    }
    lines = _shown([page])
    assert "2 replicas, 6 running" in lines[0]
    assert next(line for line in lines if line.startswith("m ")).split()[:2] == ["m", "2"]
    assert all(any(f" {name} " in line for line in lines) for name in reading.replicas)
