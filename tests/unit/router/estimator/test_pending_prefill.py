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
    """Requests without a first token wait; the one being prefilled counts less as time passes, but never below 0."""
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
    """Their first token is never seen, so they stop counting once their prefill should be done."""
    pending = PendingPrefill()
    number = _add(pending, 500.0, 0.0, stream=False)
    _add(pending, 500.0, 0.0, stream=False)
    assert _waiting(pending, 0.2) == pytest.approx(800.0)
    assert _waiting(pending, 5.0) == 0.0
    pending.prefilled(number, 6.0)
    pending.check_integrity()


def test_a_report_counts_what_it_has_accepted_and_no_more() -> None:
    """Requests that the report contains are not added to it; those still on their way are."""
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
    """After a lost request the replica's count of accepted ones stays one behind, and later requests still count."""
    pending = PendingPrefill()
    pending.reported(0.0, 0, 0.0)
    lost = _add(pending, 500.0, 0.0)
    pending.lost(lost, 0.1)
    assert _waiting(pending, 0.1) == 0.0
    _add(pending, 200.0, 0.1)
    pending.reported(200.0, 1, 0.2)
    assert _waiting(pending, 0.2) == 200.0


def test_a_young_report_counts_old_requests_whatever_its_counter_says() -> None:
    """If the replica's counter is wrong, a request counts twice for `GRACE_S` at most."""
    pending = PendingPrefill()
    pending.reported(0.0, 0, 0.0)
    _add(pending, 500.0, 0.0)
    pending.reported(500.0, 0, GRACE_S)
    assert _waiting(pending, GRACE_S) == 500.0


def test_old_reports_say_nothing() -> None:
    """From an age of `STALE_S` a report is ignored, and only this gateway's own requests count."""
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
    """After any events the waiting work is never negative, and none is left once all requests have ended."""
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
