"""What is counted reaches the disk once, whatever the disk does meanwhile."""

import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from router.estimator.expectation import Usage
from router.http.usage.ledger import HAND_OVER_S, UsageLedger, month_before
from router.http.usage.store import file_of, month_of, rows_in
from router.http.usage.used import BLOCK_TOKENS, Subject, Used

ACME = Subject("acme", "5f70aabb", "m", "")
BETA = Subject("beta", "", "m", "legal")
NOVEMBER_S = 1_796_000_000.0
"""A moment in November 2026."""


def _ledger(folder: Path, now_s: Callable[[], float] = lambda: NOVEMBER_S, keep_months: int = 2) -> UsageLedger:
    return UsageLedger(folder, machine="a", gateway="g-1", keep_months=keep_months, now_s=now_s)


def _totals(folder: Path) -> dict[Subject, Used]:
    found: dict[Subject, Used] = {}
    for path in sorted(folder.glob("*.sqlite")):
        for row in rows_in(path):
            found.setdefault(row.subject, Used()).take_in(row.used)
    return found


def _has_rows(path: Path, count: int) -> bool:
    return path.exists() and len(list(rows_in(path))) == count


def _until(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 20.0
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_each_subject_has_its_sums(tmp_path: Path) -> None:
    """Requests are added up by tenant, key, model and adapter; numbers an answer does not tell count as 0."""
    ledger = _ledger(tmp_path)
    ledger.add(ACME, Usage(100, 60, 20), 2.0, is_whole=True, is_handed_over=True)
    ledger.add(ACME, Usage(), 9.0, is_whole=False, is_handed_over=False)
    ledger.add(BETA, Usage(7, None, 1), 1.0, is_whole=True, is_handed_over=False)
    ledger.close()
    acme, beta = _totals(tmp_path)[ACME], _totals(tmp_path)[BETA]
    assert (acme.requests, acme.unfinished, acme.prompt_tokens, acme.cached_tokens) == (2, 1, 100, 60)
    assert (acme.completion_tokens, acme.handovers) == (20, 1)
    assert acme.kv_block_s == pytest.approx((100 + 20 / 2) / BLOCK_TOKENS * 2.0)
    assert (beta.requests, beta.unfinished, beta.prompt_tokens, beta.cached_tokens, beta.handovers) == (1, 0, 7, 0, 0)


def test_rows_come_while_it_counts(tmp_path: Path) -> None:
    """A tick after `HAND_OVER_S` brings what was counted to the disk, where another process finds it."""
    ledger = _ledger(tmp_path)
    path = file_of(tmp_path, "a", month_of(NOVEMBER_S))
    for second in range(3):
        ledger.add(ACME, Usage(10, 0, 1), 1.0, is_whole=True, is_handed_over=False)
        ledger.tick(1000.0 + second * HAND_OVER_S)
        _until(partial(_has_rows, path, second + 1))
    assert {row.gateway for row in rows_in(path)} == {"g-1"}
    ledger.close()


def test_a_disk_that_takes_nothing_loses_nothing(tmp_path: Path) -> None:
    """While the folder cannot be made, sums are kept and `late_s` grows; once it can be, each is written once."""
    folder = tmp_path / "records"
    folder.write_text("a file is in the folder's place")
    ledger = _ledger(folder)
    for second in range(20):
        ledger.add(ACME, Usage(10, 0, 1), 1.0, is_whole=True, is_handed_over=False)
        ledger.tick(1000.0 + second)
        time.sleep(0.01)
    assert ledger.late_s >= 15.0
    folder.unlink()
    ledger.add(ACME, Usage(10, 0, 1), 1.0, is_whole=True, is_handed_over=False)
    ledger.tick(1020.0)
    _until(lambda: folder.is_dir() and _totals(folder).get(ACME, Used()).requests == 21)
    ledger.tick(1021.0)
    assert ledger.late_s == 0.0
    ledger.close()
    assert _totals(folder)[ACME].prompt_tokens == 210


def test_two_gateways_share_a_machines_file(tmp_path: Path) -> None:
    """Processes of one machine add to one file at once; no row of either is lost."""
    ledgers = [UsageLedger(tmp_path, machine="a", gateway=f"g-{n}", keep_months=2) for n in range(4)]
    for second in range(25):
        for ledger in ledgers:
            ledger.add(ACME, Usage(1, 0, 1), 1.0, is_whole=True, is_handed_over=False)
            ledger.tick(1000.0 + second)
    for ledger in ledgers:
        ledger.close()
    assert _totals(tmp_path)[ACME].requests == 100


def test_months_have_files_and_old_ones_go(tmp_path: Path) -> None:
    """Each month has its file; those beyond `keep_months` are removed, of this machine alone."""
    now = [NOVEMBER_S]
    old, others, newest_kept = (tmp_path / f"{name}.usage.sqlite" for name in ("a.2026-08", "b.2020-01", "a.2026-09"))
    for path in (old, others, newest_kept):
        path.write_bytes(b"")
    ledger = _ledger(tmp_path, lambda: now[0])
    ledger.add(ACME, Usage(1, 0, 1), 1.0, is_whole=True, is_handed_over=False)
    ledger.tick(1000.0)
    _until(lambda: file_of(tmp_path, "a", "2026-11").exists() and not old.exists())
    assert others.exists()
    assert newest_kept.exists()
    now[0] += 31 * 86_400.0
    ledger.add(ACME, Usage(1, 0, 1), 1.0, is_whole=True, is_handed_over=False)
    ledger.close()
    assert [row.used.requests for row in rows_in(file_of(tmp_path, "a", "2026-12"))] == [1]
    assert not newest_kept.exists()


def test_rows_are_only_ever_added(tmp_path: Path) -> None:
    """The file itself refuses a change of what was recorded."""
    ledger = _ledger(tmp_path)
    ledger.add(ACME, Usage(1, 0, 1), 1.0, is_whole=True, is_handed_over=False)
    ledger.close()
    database = sqlite3.connect(file_of(tmp_path, "a", "2026-11"))
    for statement in ("UPDATE used SET requests = 0", "DELETE FROM used"):
        with pytest.raises(sqlite3.IntegrityError, match="only ever added"):
            database.execute(statement)
    database.close()


@pytest.mark.parametrize(
    ("month", "count", "right"),
    [("2026-11", 0, "2026-11"), ("2026-02", 2, "2025-12"), ("2026-01", 13, "2024-12"), ("2026-12", 11, "2026-01")],
)
def test_month_before(month: str, count: int, right: str) -> None:
    """Counting months back passes years."""
    assert month_before(month, count) == right
