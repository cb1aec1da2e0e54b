"""What people read while an application starts."""

import io

import pytest
from rich.console import Console

from deployments.commands.operate import serve
from deployments.launch.progress import ModelProgress, Progress


def told(monkeypatch: pytest.MonkeyPatch, after_s: float, *seen: tuple[str, ...]) -> list[str]:
    """Return the lines about machines, for progress in which these were away, one after the other."""
    monkeypatch.setattr(serve, "AWAY_S", after_s)
    console = Console(file=io.StringIO(), width=60)
    with serve.progress_lines(console) as report:
        for away in seen:
            report(Progress({"m": ModelProgress(0, 1)}, 0, away=away))
    assert isinstance(console.file, io.StringIO)
    return [line for line in console.file.getvalue().splitlines() if line.startswith(serve.AWAY)]


def test_machines_that_have_not_joined_are_named_once_for_each_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one line however long, which `rackserve up` reads; not before a start of Ray may have ended."""
    first, second = tuple(f"10.0.0.{number}" for number in range(11, 21)), ("10.0.0.12",)
    lines = told(monkeypatch, 0.0, first, first, second, ())
    assert lines == [f"{serve.AWAY}{', '.join(away)}" for away in (first, second)]
    assert told(monkeypatch, 60.0, first) == []
