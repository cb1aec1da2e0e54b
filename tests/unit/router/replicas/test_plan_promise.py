"""What replicas do, as a share of what was promised of them."""

import pytest

from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.replicas.plan_promise import PlanPromise, Promised, kept
from router.replicas.ranks import divided
from router.replicas.start_phases import StartPhases
from router.replicas.step_report import StepReport, of_ranks

PROMISE = PlanPromise(10_000.0, 2_000.0, 100.0, 50_000.0, 60.0)


def report(prefill: float, steps: StepReport | None, kv_tokens: int = 50_000) -> LoadReport:
    """Return a report of an engine whose largest step has 8 192 tokens."""
    return LoadReport(1, 1, 0, 0, 0.5, kv_tokens, prefill, 7.0, step_tokens=8192, steps=steps)


def test_each_promise_is_a_share_of_its_own() -> None:
    """Rates and capacity are what is there by what was promised; a start is the reverse, as seconds are less good."""
    steps = StepReport(decode_tokens_per_s=1_000.0, sequences=120.0, prompt_tokens=8192.0)
    found = kept(PROMISE, report(9_000.0, steps, 40_000), StartPhases(load_s=80.0))
    assert found == {
        Promised.PREFILL: pytest.approx(0.9),
        Promised.DECODE: pytest.approx(0.5),
        Promised.KV_TOKENS: pytest.approx(0.8),
        Promised.START: pytest.approx(0.75),
    }


def test_what_is_not_known_or_not_promised_is_left_out() -> None:
    """Before the first work, without a report, without a promise."""
    idle = report(0.0, StepReport(0.0, 0.0, 0.0), 50_000)
    assert kept(PROMISE, idle, None) == {Promised.KV_TOKENS: 1.0}
    assert kept(PROMISE, report(9_000.0, None, 0), None) == {}
    assert kept(PROMISE, None, None) == {}
    assert kept(PlanPromise(), report(9_000.0, StepReport(1.0, 1.0, 1.0)), StartPhases(load_s=1.0)) == {}


@pytest.mark.parametrize(
    ("sequences", "tokens_per_s", "share"),
    [
        (10.0, 400.0, 1.0),  # a fifth of the tokens by a tenth of the sequences: its steps are twice as fast
        (50.0, 500.0, 0.5),  # as many steps a second as half of those planned
        (50.0, 2_400.0, 1.2),  # more than planned, by fewer
        (200.0, 1_000.0, 0.5),  # more sequences are no excuse
    ],
)
def test_less_work_than_planned_is_not_held_against_a_replica(
    sequences: float, tokens_per_s: float, share: float
) -> None:
    """Steps with fewer sequences count as 1 while they take no longer than a planned one; and slower ones show."""
    found = kept(PROMISE, report(0.0, StepReport(tokens_per_s, sequences, 0.0)), None)
    assert found[Promised.DECODE] == pytest.approx(share)


def test_short_prompts_are_not_held_against_a_replica() -> None:
    """1 024 tokens in the time of a full step are fine; in twice that time they are half of what was promised."""
    full_step_s = 8192 / PROMISE.prefill_tokens_per_s
    for step_s, share in ((full_step_s, 1.0), (0.2 * full_step_s, 1.0), (2 * full_step_s, 0.5)):
        found = kept(PROMISE, report(1024 / step_s, StepReport(0.0, 0.0, 1024.0)), None)
        assert found[Promised.PREFILL] == pytest.approx(share)


def test_ranks_share_what_was_promised_of_their_replica() -> None:
    """Each row of a replica of two ranks has half of it; both start together, so that is whole."""
    rows = divided([Endpoint("r", "m", "h", 1, ranks=2, promise=PROMISE)])
    assert [row.promise for row in rows] == [PlanPromise(5_000.0, 1_000.0, 50.0, 25_000.0, 60.0)] * 2
    assert of_ranks([StepReport(500.0, 50.0, 4096.0), StepReport(0.0, 0.0, 0.0)]) == StepReport(1_000.0, 100.0, 8192.0)
    assert of_ranks([]) is None
