"""Writes sums as a table for people, as JSON, as CSV or as Parquet."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from rich.table import Table

from cluster.errors import UsageRecordsError
from deployments.commands.usage.tally import By
from router.http.usage.used import BLOCK_TOKENS, Used

_ORDER: Final = (
    "requests",
    "unfinished",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "kv_block_s",
    "handovers",
)

Sums = Mapping[tuple[str, ...], Used]


def rows(sums: Sums, by: Sequence[By]) -> list[dict[str, str | int | float]]:
    """Return a row for each sum: what it is told apart by, then its figures."""
    names = [str(each) for each in by]
    return [
        dict(zip(names, key, strict=True)) | {figure: getattr(used, figure) for figure in _ORDER}
        for key, used in sums.items()
    ]


def as_table(sums: Sums, by: Sequence[By]) -> Table:
    """Return the table for people, with a last line that has the sum of all."""
    table = Table(caption=f"kv block-s: KV blocks of {BLOCK_TOKENS} tokens × seconds held", show_footer=True)  # noqa: RUF001 - the sign
    total = Used()
    for used in sums.values():
        total.take_in(used)
    for number, each in enumerate(by):
        table.add_column(str(each), footer="all" if number == 0 else "", overflow="fold")
    for figure in _ORDER:
        table.add_column(_HEADS[figure], justify="right", footer=f"{getattr(total, figure):,.0f}")
    for key, used in sums.items():
        table.add_row(*key, *(f"{getattr(used, figure):,.0f}" for figure in _ORDER))
    return table


_HEADS: Final = {
    "requests": "requests",
    "unfinished": "unfinished",
    "prompt_tokens": "prompt",
    "cached_tokens": "cached",
    "completion_tokens": "completion",
    "kv_block_s": "kv block-s",
    "handovers": "handovers",
}


def as_json(sums: Sums, by: Sequence[By]) -> str:
    """Return the rows as a JSON list."""
    return json.dumps(rows(sums, by), indent=2)


def as_csv(sums: Sums, by: Sequence[By]) -> str:
    """Return the rows as CSV with a line of names."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*map(str, by), *_ORDER], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(sums, by))
    return text.getvalue()


def write_parquet(sums: Sums, by: Sequence[By], path: Path) -> None:
    """Write the rows as a Parquet file; counts are 64-bit integers.

    Raises:
        UsageRecordsError: the package that writes it is not installed.
        OSError: the file cannot be written.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - 40 MB that this alone needs
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise UsageRecordsError('Parquet needs the package pyarrow: pip install "rackserve[parquet]"') from error
    kinds = {figure: pa.float64() if figure == "kv_block_s" else pa.int64() for figure in _ORDER}
    schema = pa.schema({**{str(each): pa.string() for each in by}, **kinds})
    parquet.write_table(pa.Table.from_pylist(rows(sums, by), schema=schema), path)
