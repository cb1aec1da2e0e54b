"""`rackserve usage`: sums by what an operator bills by, for people, spreadsheets and data frames."""

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from cluster.errors import UsageRecordsError
from deployments.cli.main import app
from router.estimator.expectation import Usage
from router.http.usage.store import UsageFile, file_of
from router.http.usage.used import Subject, Used

RUN = CliRunner()
SUBJECTS = {
    Subject("acme", "11111111", "m", ""): (3, 300, 30),
    Subject("acme", "22222222", "m", "legal"): (2, 20, 2),
    Subject("beta", "33333333", "n", ""): (1, 1, 1),
}
"""Requests, prompt and completion tokens, the same on each of three days at two machines."""
DAYS = ("2026-10-31", "2026-11-01", "2026-11-02")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the records of two machines."""
    for machine in ("a", "b"):
        for day in DAYS:
            month = day[:7]
            file = UsageFile(file_of(tmp_path, machine, month), month)
            file.append(f"g-{machine}", datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=UTC).timestamp(), _sums())
            file.close()
    return tmp_path


def _sums() -> dict[Subject, Used]:
    sums = {}
    for subject, (requests, prompt, completion) in SUBJECTS.items():
        sums[subject] = used = Used()
        for _ in range(requests):
            used.add(Usage(prompt // requests, 0, completion // requests), 1.0, is_whole=True, is_handed_over=False)
    return sums


def _rows(*arguments: object) -> list[dict[str, str]]:
    result = RUN.invoke(app, ["usage", *map(str, arguments), "--csv"])
    assert result.exit_code == 0, result.output
    return list(csv.DictReader(io.StringIO(result.output)))


def test_by_tenant_and_month(folder: Path) -> None:
    """A month's rows of all machines are added up by tenant."""
    rows = {row["tenant"]: row for row in _rows(folder, "--by", "tenant", "--month", "2026-11")}
    assert set(rows) == {"acme", "beta"}
    assert rows["acme"]["requests"] == str(2 * 2 * 5)
    assert rows["acme"]["prompt_tokens"] == str(2 * 2 * 320)
    assert rows["beta"]["completion_tokens"] == str(2 * 2)


def test_by_anything_else(folder: Path) -> None:
    """Keys, adapters, days and gateways tell rows apart too, and the sum stays the same."""
    for by, names in (
        ("key", {"11111111", "22222222", "33333333"}),
        ("adapter", {"", "legal"}),
        ("day", set(DAYS)),
        ("month", {"2026-10", "2026-11"}),
        ("gateway", {"g-a", "g-b"}),
    ):
        rows = _rows(folder, "--by", by)
        assert {row[by] for row in rows} == names
        assert sum(int(row["requests"]) for row in rows) == 2 * 3 * 6


def test_parquet_and_json_say_what_csv_says(folder: Path, tmp_path: Path) -> None:
    """A Parquet file has the rows of the CSV, counts as integers."""
    path = tmp_path / "usage.parquet"
    result = RUN.invoke(
        app, ["usage", str(folder), "--by", "tenant", "--by", "model", "--parquet", str(path), "--json"]
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    assert parquet.read_table(path).to_pylist() == told
    assert [row["prompt_tokens"] for row in told] == [int(row["prompt_tokens"]) for row in _rows(folder)]


def test_a_table_for_people_ends_with_the_sum(folder: Path) -> None:
    """Without an option the table has a line for each tenant and model, and one for all."""
    result = RUN.invoke(app, ["usage", str(folder)], env={"COLUMNS": "150"})
    assert result.exit_code == 0
    assert "acme" in result.output
    assert "1,926" in result.output  # prompt tokens: 2 machines, 3 days, 321 each


@pytest.mark.parametrize(("month", "said"), [("2027-01", "no records of 2027-01 in"), ("", "there is no folder")])
def test_nothing_there_is_told(folder: Path, month: str, said: str) -> None:
    """A month without records, or a folder that is not there, is an error that says where was looked."""
    where = folder if month else folder / "missing"
    result = RUN.invoke(app, ["usage", str(where), *(["--month", month] if month else [])])
    assert isinstance(result.exception, UsageRecordsError)
    assert said in str(result.exception)


def test_a_file_of_something_else_is_told(folder: Path) -> None:
    """What is no record is named, and no sum is shown without it."""
    (folder / "z.2026-11.usage.sqlite").write_text("not a database, but long enough to be taken for one " * 40)
    result = RUN.invoke(app, ["usage", str(folder)])
    assert isinstance(result.exception, UsageRecordsError)
    assert "z.2026-11.usage.sqlite cannot be read" in str(result.exception)
