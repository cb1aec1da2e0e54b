"""What `rackserve status` says of speculative decoding."""

from dataclasses import asdict
from typing import Any

from deployments.commands.status.speculation_line import speculation_line, speculation_lines
from router.replicas.speculation_report import SpeculationReport

GOOD = SpeculationReport(100, 500, (90, 80, 70, 60, 50), 4.5, 2.4)
POOR = SpeculationReport(100, 500, (20, 5, 0, 0, 0), 1.25, 0.8)
NONE_YET = SpeculationReport(0, 0, (), 0.0, 0.0)


def _replica(report: SpeculationReport | None, pool: str = "") -> dict[str, Any]:
    return {"pool": pool, "report": {"running": 0, "speculation": asdict(report) if report is not None else None}}


def test_replicas_are_one_line() -> None:
    """Shares over all their drafts, means of what they know."""
    line = speculation_line("m", [GOOD, SpeculationReport(300, 300, (150,), 1.5, 0.0)])
    shares = "62% of drafts right (60% 20% 18% 15% 12%)"
    assert line == f"speculation m: 2.40 × none, 3.0 tokens a step, {shares}"  # noqa: RUF001 - its sign


def test_what_makes_it_slower_is_said() -> None:
    """In a line of its own, with what helps; each pool has its own lines, and what does not draft has none."""
    models = {
        "m": {"replicas": [_replica(POOR, "a"), _replica(GOOD, "b"), _replica(None, "c")]},
        "n": {"replicas": [{"pool": "", "report": None}, _replica(NONE_YET)]},
    }
    lines = list(speculation_lines(models))
    assert [line.partition(": ")[0] for line in lines] == [
        "speculation m:a",
        "m:a is slower with speculative decoding than without",
        "speculation m:b",
        "speculation n",
    ]
    assert "0.80 × none" in lines[0]  # noqa: RUF001 - its sign
    assert "fewer `tokens`" in lines[1]
    assert lines[3].endswith("no draft has been verified yet")
