"""What is foreseen of the measured serving points, and what rows do not tell."""

import csv
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from cluster.cost_fit.scorecard import Score, missed, scores
from cluster.foresight.serving_row import point_of, serving_row, with_campaigns
from deployments.cost_fit.__main__ import read_rows
from tests.data_files import data_folder

SILICON: Final = data_folder() / "data" / "silicon.csv"
ROW: Final = {
    "id": "x",
    "backend": "vllm",
    "backend_version": "0.18.0",
    "model_path": "openai/gpt-oss-120b",
    "system": "h100_sxm",
    "precision": "fp4",
    "mode": "agg",
    "isl": "1024",
    "osl": "1024",
    "tp_size": "4",
    "pp_size": "1",
    "attention_dp_size": "1",
    "moe_tp_size": "4",
    "moe_ep_size": "1",
    "silicon_ttft_ms": "62",
    "silicon_tpot_ms": "5.8",
    "concurrency": "16",
}
SIDES: Final = ("num_workers", "tp_size", "pp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")


def _row(**changes: str) -> dict[str, str]:
    sides = {f"{side}_{name}": "" for side in ("prefill", "decode") for name in SIDES}
    return {**sides, **ROW, **changes}


@pytest.fixture(scope="module")
def found() -> dict[str, Score]:
    """Scores of the given rows, by title."""
    if not SILICON.is_file():
        pytest.skip(f"no {SILICON}")
    told, _ = read_rows(SILICON)
    return {each.title: each for each in scores([missed(row) for row in told])}


@pytest.mark.parametrize(("title", "most", "most_ttft"), [("all", 0.1, 0.3), ("vllm", 0.08, 0.22)])
def test_the_given_rows_are_within_the_bars(found: dict[str, Score], title: str, most: float, most_ttft: float) -> None:
    """Median errors of tokens a second for each GPU, of the time between tokens and of the time to the first."""
    score = found[title]
    assert score.rows > 700
    assert score.tokens_per_s <= most
    assert score.tpot <= most
    assert score.ttft <= most_ttft


def test_intervals_hold_four_of_five_rows(found: dict[str, Score]) -> None:
    """All engines together, each of the three quantities."""
    assert min(found["all"].tokens_per_s_held, found["all"].tpot_held, found["all"].ttft_held) >= 0.8


def test_most_rows_are_scored() -> None:
    """Rules leave out what does not tell: numbers of workers above all, and otherwise few rows."""
    if not SILICON.is_file():
        pytest.skip(f"no {SILICON}")
    told, untold = read_rows(SILICON)
    assert len(told) + sum(untold.values()) == 3239
    assert untold["no numbers of workers"] == 898
    assert sum(untold.values()) - untold["no numbers of workers"] < 150


@pytest.mark.parametrize(
    ("columns", "layout"),
    [
        (("8", "1", "1", "8"), "TP 8 × PP 1 × EP 8 × DP 1"),  # noqa: RUF001 - the field's own sign
        (("64", "1", "8", "8"), "TP 8 × PP 1 × EP 8 × DP 1"),  # noqa: RUF001 - the field's own sign
        (("1", "64", "8", "8"), "TP 1 × PP 1 × EP 8 × DP 8"),  # noqa: RUF001 - the field's own sign
        (("4", "", "2", "2"), "TP 4 × PP 1 × EP 4 × DP 1"),  # noqa: RUF001 - the field's own sign
        (("1", "", "4", "1"), "TP 1 × PP 1 × EP 1 × DP 4"),  # noqa: RUF001 - the field's own sign
        (("4", "4", "1", "16"), "TP 4 × PP 1 × EP 4 × DP 1"),  # noqa: RUF001 - the field's own sign
    ],
)
def test_layouts_are_read_as_their_twins_say(columns: tuple[str, ...], layout: str) -> None:
    """The same measurements stand in the file in both ways of writing a layout."""
    names = ("tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
    row = _row(model_path="deepseek-ai/DeepSeek-R1", system="b200_sxm", **dict(zip(names, columns, strict=True)))
    assert str(point_of(row).decode.layout) == layout


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"concurrency": ""}, "no concurrency"),
        ({"tp_size": "36", "moe_tp_size": "36"}, "tp_size is a number of GPUs"),
        ({"mode": "disagg", "prefill_tp_size": "4", "decode_tp_size": "4"}, "no numbers of workers"),
        ({"silicon_ttft_ms": "9000"}, "most requests waited for a place"),
        ({"isl": "8000", "concurrency": "512", "silicon_ttft_ms": "100"}, "prompts were cached"),
        ({"model_path": "deepseek-ai/DeepSeek-R1", "precision": "fp8"}, "the model does not fit these GPUs"),
    ],
)
def test_a_row_says_what_it_does_not_tell(changes: dict[str, str], why: str) -> None:
    """By what stands in the row, whatever is foreseen of it."""
    assert serving_row(_row(**changes)).why_untold == why


def test_a_campaign_with_cached_prompts_is_left_out_whole() -> None:
    """Other rows of the same model, GPU and version had the same prompts; those of another version did not."""
    cached = serving_row(_row(isl="8000", concurrency="512", silicon_ttft_ms="100"))
    rows = with_campaigns([cached, serving_row(_row()), serving_row(_row(backend_version="0.19.0"))])
    assert [bool(row.why_untold) for row in rows] == [True, True, False]


def test_rows_of_unknown_models_and_gpus_are_counted(tmp_path: Path) -> None:
    """A file with rows that cannot be read is scored all the same, and says how many there were."""
    file = tmp_path / "rows.csv"
    rows = [_row(), _row(model_path="nobody/unknown"), _row(system="tpu_v9")]
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    told, untold = read_rows(file)
    assert (len(told), sum(untold.values())) == (1, 2)
    assert Counter(word for why in untold for word in why.split())["unknown"] == 1
