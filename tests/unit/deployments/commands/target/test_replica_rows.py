"""Rows of `/state` put together by replica, and how `rackserve status` shows them."""

from dataclasses import asdict
from io import StringIO
from typing import Any

from rich.console import Console

from deployments.commands.status import status as status_command
from deployments.commands.target.replica_rows import replica_rows
from router.replicas.load_report import LoadReport
from router.replicas.speculation_report import SpeculationReport


def _row(replica: str, rank: int | None, report: LoadReport | None) -> dict[str, Any]:
    return {
        "replica_id": replica if rank is None else f"{replica}.{rank}",
        "replica": replica,
        "rank": rank,
        "host": "h",
        "http_port": 80,
        "report": asdict(report) if report is not None else None,
    }


BUSY = LoadReport(3, 4, 1, 100, 0.5, 1000, 400.0, 60.0, 5, 2048, 2, SpeculationReport(4, 8, (3, 1), 2.0, 1.5))
CALM = LoadReport(9, 1, 0, 0, 0.1, 1000, 200.0, 20.0, 3, 2048, 1)


def test_ranks_of_a_replica_are_one_row() -> None:
    """Its load is that of all ranks which report; replicas without ranks, and of gateways that know none, stay."""
    old = {name: value for name, value in _row("old", None, CALM).items() if name not in {"replica", "rank"}}
    plain = _row("plain", None, CALM)
    ranked = [_row("r", 0, BUSY), _row("r", 1, CALM), _row("r", 2, None)]
    silent = [_row("s", 0, None), _row("s", 1, None)]
    first, second, third, fourth = replica_rows([old, *ranked, plain, *silent])
    assert (first, third) == (old, plain)
    assert (second["replica_id"], second["rank"], second["ranks"]) == ("r", None, ranked)
    report = second["report"]
    assert [report[name] for name in ("running", "waiting", "waiting_tokens", "accepted", "gateways")] == [
        5,
        1,
        100,
        8,
        2,
    ]
    assert [report[name] for name in ("kv_usage", "kv_capacity_tokens", "prefill_tokens_per_s")] == [0.3, 2000, 600.0]
    assert SpeculationReport(**report["speculation"]) == BUSY.speculation
    assert fourth["report"] is None


def test_status_shows_ranks_below_their_replica() -> None:
    """A replica has one row with the sum, and a row for each rank."""
    model: dict[str, Any] = {"policy": "p", "queue": {"waiting": 0, "refused": 0}, "slo": None, "decisions": []}
    rows = replica_rows([_row("r", 0, BUSY), _row("r", 1, CALM)])
    application = {
        "name": "a",
        "status": "RUNNING",
        "message": "",
        "gateways": [],
        "missing": {},
        "deployments": {},
        "models": {"m": {**model, "replicas": rows}},
    }
    console = Console(file=StringIO(), width=120)
    status_command._print_application(application, console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]  # the StringIO above
    lines = [line.replace("│", "").split() for line in text.splitlines()]
    shown = [words for words in lines if words and words[0] in {"r", "rank"}]
    assert shown == [
        ["r", "m", "p", "h:80", "5", "1", "30%"],
        ["rank", "0", "4", "1", "50%"],
        ["rank", "1", "1", "0", "10%"],
    ]
