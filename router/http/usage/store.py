"""The records on disk: an SQLite file for each machine and month, to which rows are only ever added."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from router.http.usage.used import Subject, Sums, Used

SUFFIX: Final = ".usage.sqlite"
BUSY_S: Final = 5.0
"""Seconds for which one gateway process waits for another's write to the machine's file; each takes milliseconds."""
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS subject (
    id INTEGER PRIMARY KEY,
    gateway TEXT NOT NULL, tenant TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL, adapter TEXT NOT NULL,
    UNIQUE (gateway, tenant, key, model, adapter)
);
CREATE TABLE IF NOT EXISTS used (
    at INTEGER NOT NULL,
    subject INTEGER NOT NULL REFERENCES subject (id),
    requests INTEGER NOT NULL, unfinished INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    kv_block_s REAL NOT NULL, handovers INTEGER NOT NULL
);
CREATE TRIGGER IF NOT EXISTS used_is_never_changed BEFORE UPDATE ON used
BEGIN SELECT RAISE(ABORT, 'records of usage are only ever added'); END;
CREATE TRIGGER IF NOT EXISTS used_is_never_deleted BEFORE DELETE ON used
BEGIN SELECT RAISE(ABORT, 'records of usage are only ever added'); END;
"""
_SUBJECT: Final = (
    "INSERT INTO subject (gateway, tenant, key, model, adapter) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
_ROW: Final = """
INSERT INTO used SELECT ?, id, ?, ?, ?, ?, ?, ?, ? FROM subject
WHERE gateway = ? AND tenant = ? AND key = ? AND model = ? AND adapter = ?
"""


class UsageRow(NamedTuple):
    """What one subject used in about a second at one gateway.

    Attributes:
        at: when it was written, Unix seconds.
        gateway: the gateway's id.
        subject: whom it is counted for.
        used: how much.
    """

    at: int
    gateway: str
    subject: Subject
    used: Used


def file_of(folder: Path, machine: str, month: str) -> Path:
    """Return a machine's file of a month, such as "2026-11"."""
    return folder / f"{machine}.{month}{SUFFIX}"


def month_of(at_s: float) -> str:
    """Return the month, in UTC, of a moment in Unix seconds."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m")


class UsageFile:
    """One machine's file of one month, open for writing; used by one thread.

    Args:
        path: made where it is missing, with its folder.
        month: the month whose rows it takes, as in `file_of`.

    Raises:
        OSError: its folder cannot be made.
        sqlite3.Error: it cannot be opened.
    """

    def __init__(self, path: Path, month: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.month = month
        self._database = sqlite3.connect(path, timeout=BUSY_S)
        try:
            # With a write-ahead log readers stop nobody; what is committed survives a killed process.
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.executescript(_TABLES)
        except sqlite3.Error:
            self._database.close()
            raise

    def append(self, gateway: str, at_s: float, sums: Sums) -> None:
        """Add a row for each subject, all of them or none.

        Args:
            gateway: the gateway's id.
            at_s: the moment, Unix seconds.
            sums: what each has used since the last rows.

        Raises:
            sqlite3.Error: they could not be written.
        """
        with self._database:
            for subject, used in sums.items():
                self._database.execute(_SUBJECT, (gateway, *subject))
                tokens = used.prompt_tokens, used.cached_tokens, used.completion_tokens
                numbers = (int(at_s), used.requests, used.unfinished, *tokens, used.kv_block_s, used.handovers)
                self._database.execute(_ROW, (*numbers, gateway, *subject))

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def rows_in(path: Path) -> Iterator[UsageRow]:
    """Return the rows of one file, the oldest first, without changing it; none of one that is only being made.

    Raises:
        sqlite3.Error: it is no such file.
    """
    query = (
        "SELECT at, gateway, tenant, key, model, adapter, requests, unfinished, prompt_tokens, cached_tokens, "
        "completion_tokens, kv_block_s, handovers FROM used JOIN subject ON subject.id = used.subject "
        "ORDER BY used.rowid"
    )
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_S)) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'used'").fetchone():
            return
        for at, gateway, tenant, key, model, adapter, *numbers in database.execute(query):
            used = Used()
            used.requests, used.unfinished, used.prompt_tokens, used.cached_tokens, used.completion_tokens = numbers[:5]
            used.kv_block_s, used.handovers = numbers[5:]
            yield UsageRow(at, gateway, Subject(tenant, key, model, adapter), used)
