"""Waiting work is counted once: by the replica that reports it, or by the gateway that sent it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.estimator.pending_prefill import STALE_S, PendingPrefill
from router.estimator.unreported import GRACE_S

S_PER_TOKEN = 0.001


def _add(pending: PendingPrefill, tokens: float, now_s: float, *, stream: bool = True) -> int:
    return pending.add(tokens, now_s, S_PER_TOKEN, stream=stream)


def _waiting(pending: PendingPrefill, now_s: float) -> float:
    """Return the tokens that wait."""
    return round(pending.wait_s(now_s, S_PER_TOKEN) / S_PER_TOKEN, 6)


def test_without_reports_own_requests_wait_until_their_first_token() -> None:
    """What was sent and has no first token waits; the one being prefilled counts for less and less, never below 0."""
    pending = PendingPrefill()
    first = _add(pending, 500.0, 0.0)
    _add(pending, 200.0, 0.0)
    assert _waiting(pending, 0.0) == 700.0
    assert _waiting(pending, 0.3) == pytest.approx(400.0)
    assert _waiting(pending, 9.0) == 200.0
    pending.prefilled(first, 9.0)
    assert _waiting(pending, 9.0) == 200.0
    pending.check_integrity()


def test_answers_that_are_not_streamed_wait_as_long_as_their_prefill_should_take() -> None:
    """Their first token is never seen: after its time they are taken to be decoding."""
    pending = PendingPrefill()
    number = _add(pending, 500.0, 0.0, stream=False)
    _add(pending, 500.0, 0.0, stream=False)
    assert _waiting(pending, 0.2) == pytest.approx(800.0)
    assert _waiting(pending, 5.0) == 0.0
    pending.prefilled(number, 6.0)
    pending.check_integrity()


def test_a_report_counts_what_it_has_accepted_and_no_more() -> None:
    """Requests the report includes are not added to it, those still on their way are."""
    pending = PendingPrefill()
    pending.reported(0.0, 0, 0.0)
    _add(pending, 500.0, 0.05)
    _add(pending, 200.0, 0.06)
    assert _waiting(pending, 0.06) == 700.0
    pending.reported(500.0, 1, 0.1)
    assert _waiting(pending, 0.1) == 700.0
    pending.reported(650.0, 2, 0.2)
    assert _waiting(pending, 0.2) == 650.0
    assert _waiting(pending, 0.3) == pytest.approx(550.0)
    pending.check_integrity()


def test_a_request_that_never_arrived_is_not_waited_for() -> None:
    """Where one was lost on the way the count of accepted ones is one behind for good: later ones are still counted."""
    pending = PendingPrefill()
    pending.reported(0.0, 0, 0.0)
    lost = _add(pending, 500.0, 0.0)
    pending.lost(lost, 0.1)
    assert _waiting(pending, 0.1) == 0.0
    _add(pending, 200.0, 0.1)
    pending.reported(200.0, 1, 0.2)
    assert _waiting(pending, 0.2) == 200.0


def test_a_young_report_counts_old_requests_whatever_its_counter_says() -> None:
    """A replica whose counter is wrong makes nothing count twice for longer than this."""
    pending = PendingPrefill()
    pending.reported(0.0, 0, 0.0)
    _add(pending, 500.0, 0.0)
    pending.reported(500.0, 0, GRACE_S)
    assert _waiting(pending, GRACE_S) == 500.0


def test_old_reports_say_nothing() -> None:
    """When reports stop coming only this gateway's own requests are known."""
    pending = PendingPrefill()
    pending.reported(9000.0, 0, 0.0)
    _add(pending, 500.0, 0.0)
    assert _waiting(pending, 0.0) == 9500.0
    assert _waiting(pending, 0.01 + STALE_S) == 0.0
    _add(pending, 100.0, STALE_S + 1)
    assert _waiting(pending, STALE_S + 1) == 100.0
    pending.silent()
    assert _waiting(pending, STALE_S + 1) == 100.0


events = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 5000), st.booleans()),
    st.tuples(st.just("prefilled"), st.integers(0, 9), st.none()),
    st.tuples(st.just("lost"), st.integers(0, 9), st.none()),
    st.tuples(st.just("report"), st.integers(0, 5000), st.none()),
    st.tuples(st.just("silent"), st.none(), st.none()),
)


@given(steps=st.lists(st.tuples(events, st.floats(0.0, 2.0)), max_size=60))
def test_never_negative_and_nothing_left_behind(
    steps: list[tuple[tuple[str, int | None, bool | None], float]],
) -> None:
    """Whatever happens, waiting work is never negative, and none is left once all requests have ended."""
    pending = PendingPrefill()
    alive: list[int] = []
    now_s = 0.0
    for (event, value, stream), passed_s in steps:
        now_s += passed_s
        if event == "add":
            alive.append(_add(pending, float(value or 1), now_s, stream=bool(stream)))
        elif event == "silent":
            pending.silent()
        elif event == "report":
            pending.reported(float(value or 0), pending.unreported.sent, now_s)
        elif alive:
            number = alive.pop((value or 0) % len(alive))
            (pending.prefilled if event == "prefilled" else pending.lost)(number, now_s)
        assert _waiting(pending, now_s) >= 0.0
        pending.check_integrity()
    for number in alive:
        pending.prefilled(number, now_s)
    pending.silent()
    assert _waiting(pending, now_s) == 0.0
