"""Adds records up by what an operator bills by."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from cluster.errors import UsageRecordsError
from router.http.usage.store import SUFFIX, UsageRow, rows_in
from router.http.usage.used import Used


class By(StrEnum):
    """What rows are told apart by."""

    TENANT = "tenant"
    KEY = "key"
    MODEL = "model"
    ADAPTER = "adapter"
    MONTH = "month"
    DAY = "day"
    HOUR = "hour"
    GATEWAY = "gateway"


_TIMES = {By.MONTH: "%Y-%m", By.DAY: "%Y-%m-%d", By.HOUR: "%Y-%m-%dT%H"}


def files_in(folders: Sequence[Path], month: str) -> list[Path]:
    """Return the records' files of a month, or of all months where it is "".

    Raises:
        UsageRecordsError: a folder is missing, or there is no record of that month in any.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UsageRecordsError(f"there is no folder {folder}; the cluster file's `gateway.usage.folder` names it")
    found = sorted(path for folder in folders for path in folder.glob(f"*.{month or '*'}{SUFFIX}"))
    if not found:
        what = f"of {month} " if month else ""
        where = ", ".join(map(str, folders))
        raise UsageRecordsError(f"no records {what}in {where}: gateways write them once requests end")
    return found


def rows_of(paths: Iterable[Path]) -> Iterator[UsageRow]:
    """Return all rows of these files.

    Raises:
        UsageRecordsError: a file holds no records, or cannot be read.
    """
    for path in paths:
        try:
            yield from rows_in(path)
        except sqlite3.Error as error:
            raise UsageRecordsError(f"{path} cannot be read: {error}") from error


def tally(rows: Iterable[UsageRow], by: Sequence[By]) -> dict[tuple[str, ...], Used]:
    """Return the sums by what `by` names, in the order of these names' values."""
    sums: dict[tuple[str, ...], Used] = {}
    for row in rows:
        sums.setdefault(tuple(_value(row, each) for each in by), Used()).take_in(row.used)
    return dict(sorted(sums.items()))


def _value(row: UsageRow, by: By) -> str:
    if by in _TIMES:
        return datetime.fromtimestamp(row.at, UTC).strftime(_TIMES[by])
    return row.gateway if by is By.GATEWAY else str(getattr(row.subject, by))
