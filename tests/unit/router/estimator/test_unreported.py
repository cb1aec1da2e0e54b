"""Requests that a replica's reports do not contain yet are counted once, and not for ever."""

from hypothesis import given
from hypothesis import strategies as st

from router.estimator.unreported import GRACE_S, UnreportedRequests


def _add(unreported: UnreportedRequests, now_s: float, tokens: float = 100.0) -> int:
    return unreported.add(tokens, now_s, is_reporting=True)


def test_a_report_contains_the_first_requests_and_a_lost_one_is_given_up_after_a_second() -> None:
    """A report contains the first requests up to its count; after a lost one that count is corrected."""
    unreported = UnreportedRequests()
    for number in range(5):
        _add(unreported, number * 0.01)
    unreported.reported(3, 0.1)
    assert unreported.numbers() == {4, 5}
    unreported.reported(5, 0.2)
    assert len(unreported) == 0
    _add(unreported, 0.3)  # is lost on its way
    _add(unreported, 0.4)
    unreported.reported(6, 0.5)
    assert len(unreported) == 1
    unreported.reported(6, 1.45)
    assert len(unreported) == 0
    _add(unreported, 1.5)
    unreported.reported(6, 1.55)
    assert len(unreported) == 1
    unreported.reported(7, 1.6)
    assert len(unreported) == 0
    unreported.check_integrity()


def test_a_slow_request_is_not_lost_for_good() -> None:
    """If a request counted as lost after `GRACE_S` is accepted after all, the count needs no correction any more."""
    unreported = UnreportedRequests()
    _add(unreported, 0.0)
    unreported.reported(0, GRACE_S)
    assert len(unreported) == 0
    unreported.reported(1, GRACE_S + 0.1)
    _add(unreported, 2.0)
    unreported.reported(1, 2.1)
    assert len(unreported) == 1
    unreported.check_integrity()


def test_a_request_that_ended_before_its_first_token_is_not_waited_for() -> None:
    """It may never have arrived, so from then on the replica's count is read as one more."""
    unreported = UnreportedRequests()
    first, second = _add(unreported, 0.0), _add(unreported, 0.0)
    unreported.lost(first)
    assert unreported.numbers() == {second}
    unreported.reported(1, 0.1)
    assert len(unreported) == 0
    unreported.lost(second)  # a report contains it: nothing happens
    third = _add(unreported, 0.2)
    unreported.reported(1, 0.3)
    assert unreported.numbers() == {third}
    unreported.check_integrity()


def test_a_request_with_its_first_token_is_there_whatever_the_count_says() -> None:
    """The first token proves that it arrived, so its tokens no longer wait; a second removal changes nothing."""
    unreported = UnreportedRequests()
    first = _add(unreported, 0.0, tokens=500.0)
    second = _add(unreported, 0.0, tokens=30.0)
    for _ in range(2):
        unreported.remove(first)
        assert (unreported.numbers(), unreported.tokens) == ({second}, 30.0)
    unreported.check_integrity()


def test_without_reports_nothing_waits_for_one() -> None:
    """Requests to a replica without reports are only numbered; when reports stop, all unreported ones are forgotten."""
    unreported = UnreportedRequests()
    assert unreported.add(100.0, 0.0, is_reporting=False) == 1
    assert len(unreported) == 0
    assert _add(unreported, 0.1) == 2
    assert 2 in unreported
    unreported.clear()
    assert (len(unreported), unreported.tokens, unreported.sent) == (0, 0.0, 2)
    unreported.check_integrity()


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["send", "accept", "report"]), st.integers(0, 5000), st.floats(0.0, 0.9)), max_size=60
    )
)
def test_where_all_arrive_in_time_only_the_unreported_count(steps: list[tuple[str, int, float]]) -> None:
    """If no request is lost or slower than `GRACE_S`, a report leaves exactly those that are not accepted yet."""
    unreported = UnreportedRequests()
    on_their_way: list[tuple[int, float, float]] = []
    accepted = 0
    now_s = 0.0
    for kind, tokens, passed_s in steps:
        now_s += passed_s
        while on_their_way and on_their_way[0][2] + GRACE_S / 2 <= now_s:
            del on_their_way[0]
            accepted += 1
        if kind == "send":
            on_their_way.append((_add(unreported, now_s, float(tokens)), float(tokens), now_s))
        elif kind == "accept" and on_their_way:
            del on_their_way[0]
            accepted += 1
        elif kind == "report":
            unreported.reported(accepted, now_s)
            assert unreported.numbers() == {number for number, _, _ in on_their_way}
            assert unreported.tokens == sum(tokens for _, tokens, _ in on_their_way)
        unreported.check_integrity()


_EVENTS = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 5000)),
    st.tuples(st.sampled_from(["remove", "lost"]), st.integers(1, 40)),
    st.tuples(st.just("report"), st.integers(0, 50)),
    st.tuples(st.just("clear"), st.just(0)),
)


@given(steps=st.lists(st.tuples(_EVENTS, st.floats(0.0, 0.7)), max_size=80))
def test_whatever_replicas_say_none_waits_longer_than_the_grace(steps: list[tuple[tuple[str, int], float]]) -> None:
    """Even with wrong counts, only requests sent and not over wait, and after a report none older than `GRACE_S`."""
    unreported = UnreportedRequests()
    sent: dict[int, tuple[float, float]] = {}
    now_s = 0.0
    for (kind, value), passed_s in steps:
        now_s += passed_s
        before = unreported.numbers()
        if kind == "add":
            number = _add(unreported, now_s, float(value))
            assert number == unreported.sent
            sent[number] = now_s, float(value)
            assert unreported.numbers() == before | {number}
        elif kind == "report":
            unreported.reported(value, now_s)
            assert unreported.numbers() <= before
            assert all(sent[number][0] + GRACE_S > now_s for number in unreported.numbers())
            assert all(number > value for number in unreported.numbers())
        elif kind == "clear":
            unreported.clear()
            assert not unreported.numbers()
        else:
            (unreported.remove if kind == "remove" else unreported.lost)(value)
            assert unreported.numbers() == before - {value}
        unreported.check_integrity()
        assert len(unreported) == len(unreported.numbers())
        assert unreported.tokens == sum(sent[number][1] for number in unreported.numbers())
