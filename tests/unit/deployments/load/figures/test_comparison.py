"""Two runs beside one another."""

from pathlib import Path

import pytest

from cluster.errors import SpecError
from deployments.load.figures.comparison import Change, compare
from deployments.load.figures.run_file import RunFile, read_run
from tests.unit.deployments.load.figures.runs import drawn_run, record, run_of


def _change(before: RunFile, after: RunFile, name: str) -> Change:
    return next(each for each in compare(before, after, draws=400) if each.name == name)


def test_a_planted_change_is_found_and_its_size_is_within_the_interval() -> None:
    """Times 1.5 as long are called worse, and the interval has 1.5 in it."""
    change = _change(drawn_run(0.2, 1), drawn_run(0.3, 2), "TTFT mean")
    assert change.verdict == "worse"
    assert change.low is not None
    assert change.high is not None
    assert change.low < 1.5 < change.high


def test_the_interval_holds_as_often_as_it_says() -> None:
    """Of 60 pairs of runs without a difference, about one in twenty is called one: no more than nine."""
    called = sum(
        _change(drawn_run(0.2, 2 * turn, 100), drawn_run(0.2, 2 * turn + 1, 100), "TTFT mean").verdict
        != "no difference shown"
        for turn in range(60)
    )
    assert called <= 9


def test_requests_of_one_session_do_not_count_as_independent() -> None:
    """20 sessions of 20 equal requests say no more than 20 requests: their interval is far wider than that of 400."""
    together = _change(drawn_run(0.2, 1, per_session=20), drawn_run(0.2, 2, per_session=20), "TTFT mean")
    apart = _change(drawn_run(0.2, 1), drawn_run(0.2, 2), "TTFT mean")
    widths = []
    for change in (together, apart):
        assert change.low is not None
        assert change.high is not None
        widths.append(change.high - change.low)
    assert widths[0] > 2.5 * widths[1]


def test_rates_are_those_of_the_runs() -> None:
    """Goodput and tokens a second are the figures of each run, and more of them is better."""
    before = run_of(*(record(at_s / 10) for at_s in range(90)), ttft_s=0.5)
    after = run_of(*(record(at_s / 20) for at_s in range(180)), ttft_s=0.5)
    for name, (one, two) in {"goodput": (9.0, 18.0), "output tokens": (99.0, 198.0)}.items():
        change = _change(before, after, name)
        assert change.before == pytest.approx(one)
        assert change.after == pytest.approx(two)
        assert change.verdict == "better"


def test_one_session_has_no_interval() -> None:
    """From one conversation nothing can be said about chance, and nothing is."""
    change = _change(run_of(record(), record(1.0)), run_of(record(), record(1.0, 0.3)), "TTFT mean")
    assert change.low is None
    assert change.verdict == "no difference shown"


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    """A missing file, another format and another version each have their words; a kept run reads as it was."""
    kept = tmp_path / "run.json"
    run = run_of(record())
    kept.write_bytes(run.written())
    assert read_run(kept) == run
    kept.write_bytes(run.written().replace(b'"rackserve_bench":1', b'"rackserve_bench":9'))
    for path, words in ((kept, "9 is not 1"), (tmp_path / "none.json", "cannot be read")):
        with pytest.raises(SpecError, match=words):
            read_run(path)
    kept.write_text('{"figures": 3}')
    with pytest.raises(SpecError, match="no run of"):
        read_run(kept)
