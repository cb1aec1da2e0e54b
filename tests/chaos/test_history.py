"""The judge of histories: what it lets pass, and what it does not."""

from tests.chaos.history import Asked, End, Killed, judged


def _asked(end: End | None, port: int = 1, began_s: float = 1.0, ended_s: float = 5.0) -> Asked:
    return Asked(0, "g", stream=True, began_s=began_s, port=port, ended_s=ended_s, end=end, stall_s=0.5)


def test_only_what_a_killed_gateway_had_may_be_lost() -> None:
    """A cut stream on one of its connections while it lived, or one that it had not accepted yet; no other."""
    killed = [Killed(4.0, frozenset({7}))]
    assert judged([_asked(End.CUT, port=7)], killed).lost == 1
    assert judged([_asked(End.CUT, port=8, began_s=3.9)], killed).lost == 1
    assert judged([_asked(End.CUT, port=8, began_s=4.1)], killed).lost == 1
    slow = [Killed(4.0, frozenset(), gone_s=4.6)]
    assert judged([_asked(End.CUT, began_s=4.7)], slow).lost == 1
    assert judged([_asked(End.CUT, began_s=4.9)], slow).failed == 1
    for other in (
        _asked(End.CUT, port=8),
        _asked(End.CUT, port=7, began_s=4.3),
        _asked(End.CUT, port=7, ended_s=3.0),
        _asked(End.REFUSED, port=7),
        _asked(End.STALLED, port=7),
    ):
        assert (judged([other], killed).failed, judged([other], killed).lost) == (1, 0)
    assert judged([_asked(End.CUT, port=7)]).failed == 1


def test_three_engines_may_die_with_a_request() -> None:
    """With four deaths in its life it may end with the error that says so; with fewer, or another error, it failed."""
    row = _asked(End.CUT)
    row.why = "every replica that was tried failed before answering"
    deaths = [(0.5, 1.5), (2.0, 2.1), (3.0, 3.1), (4.9, 9.0)]
    assert (judged([row], deaths=deaths).failed, judged([row], deaths=deaths).cut_too_often) == (0, 1)
    assert judged([row], deaths=[*deaths[:3], (6.0, 7.0)]).failed == 1
    assert judged([_asked(End.CUT)], deaths=deaths).failed == 1


def test_wrong_answers_and_open_requests_are_counted_by_themselves() -> None:
    """A wrong answer is no failed one, whatever was killed; leaving is a client's right."""
    found = judged(
        [_asked(End.WRONG, port=7), _asked(None), _asked(End.LEFT), _asked(End.FINISHED)], [Killed(4.0, frozenset({7}))]
    )
    assert (found.wrong, found.failed, found.open, found.lost) == (1, 0, 1, 0)
    assert found.longest_stall_s == 0.5
