"""The access log's file."""

import json
from pathlib import Path

import pytest

from router.http.data_plane import access_log
from router.http.data_plane.access_log import AccessEntry, AccessLog


def entry(request_id: str) -> AccessEntry:
    """Return an entry of a request with this id."""
    return AccessEntry(request_id, "10.0.0.1", "POST", "/v1/chat/completions", "ok", 200, tenant="ann")


def test_each_entry_is_a_line_of_json(tmp_path: Path) -> None:
    """Entries stand in the file in their order, with the time, and what is not known is left out."""
    file = tmp_path / "access.log"
    log = AccessLog(str(file))
    for number in range(3):
        log.write(entry(f"r{number}"))
    log.close()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["request_id"] for line in lines] == ["r0", "r1", "r2"]
    assert lines[0]["time"].endswith("Z")
    assert "replica" not in lines[0]


def test_the_file_is_opened_anew_when_it_was_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a rotation entries go to a new file of the old name."""
    monkeypatch.setattr(access_log, "WRITE_EVERY_S", 60.0)
    file = tmp_path / "access.log"
    log = AccessLog(str(file))
    file.rename(tmp_path / "access.log.1")
    log.write(entry("after"))
    log.close()
    assert "after" in file.read_text()
    assert not (tmp_path / "access.log.1").read_text()


def test_a_disk_that_stands_still_costs_entries_and_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is bounded; entries beyond it are dropped and counted."""
    monkeypatch.setattr(access_log, "WRITE_EVERY_S", 60.0)
    monkeypatch.setattr(access_log, "MAX_WAITING_BYTES", 1000)
    log = AccessLog(str(tmp_path / "access.log"))
    for number in range(100):
        log.write(entry(f"r{number}"))
    assert 80 < log.dropped < 100
    log.close()
    assert len((tmp_path / "access.log").read_text().splitlines()) == 100 - log.dropped


def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    """A gateway whose access log cannot be written does not start."""
    with pytest.raises(OSError, match="nowhere"):
        AccessLog(str(tmp_path / "nowhere" / "access.log"))
