"""Reads rows of measured serving points (NVIDIA AIConfigurator's columns), and says of each what it does not tell.

Layouts. `moe_tp_size` and `moe_ep_size` say how the experts lie; rows of one origin give `tp_size` as their product
where
the GPUs are `moe_tp_size` and each holds whole experts (twins of the same measurement, written both ways, show it).
A row
that has no `attention_dp_size` is of the other origin and gives `tp_size` as it is.

A row is not scored where it does not tell what was measured, by these rules and not by how far off a prediction is:

- no concurrency;
- `agg` with one tensor group of more GPUs than `LARGEST_TENSOR_GROUP`: a number of GPUs, not a layout;
- `disagg` without the numbers of workers, or with workers of such a group: neither batch nor GPUs are known;
- a model that does not fit the GPUs that the row names;
- queueing: a mean TTFT above the time of the whole answer. More than half of the requests waited for a place, so the
  batch that
  ran was bounded by a setting that the row does not tell. With prefill apart the queue is that of the prompts: then the
  TTFT alone is not scored;
- more arithmetic than `MOST_ARITHMETIC` of the peak: prompts were found in the prefix cache. The other rows of that
  model,
  GPU and version had the same load and are left out too (`with_campaigns`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cluster.foresight.serving_point import SERVED_SHARE, ServingPoint, Workers, serving_point
from cluster.model_shapes.model_shape import WeightGroup
from cluster.model_shapes.precision import Rate
from cluster.replica_cost.layout import Layout
from cluster.replica_cost.memory import weights_on_one_gpu

LARGEST_TENSOR_GROUP: Final = 8
"""GPUs of the largest tensor group that engines were measured with."""

UNTOLD_VERSION: Final = "untold"
"""Version of rows that name none: those of one origin, measured in 2025."""

MOST_ARITHMETIC: Final = {Rate.BF16: 0.6, Rate.FP8: 0.4, Rate.FP4: 0.4}
"""Share of the peak arithmetic that no engine reaches over a whole closed loop, by kind of arithmetic."""


PROMPTS_WERE_CACHED: Final = "prompts were cached"
"""Why rows with too much arithmetic are not scored."""


@dataclass(frozen=True, slots=True)
class ServingRow:
    """One measured point.

    Attributes:
        name: its id.
        model: id of the model on the hub.
        system: the accelerator, as the row has it.
        point: what was measured.
        ttft_s: measured mean seconds to the first token.
        tpot_s: measured mean seconds between tokens.
        why_untold: why the row is not scored; "" if it is.
        is_ttft_told: whether its TTFT is scored.
    """

    name: str
    model: str
    system: str
    point: ServingPoint
    ttft_s: float
    tpot_s: float
    why_untold: str
    is_ttft_told: bool

    @property
    def answer_s(self) -> float:
        """Measured seconds from the first to the last token."""
        return (self.point.output_tokens - 1) * self.tpot_s

    @property
    def tokens_per_s_per_gpu(self) -> float:
        """Measured output tokens a second for each GPU."""
        whole = self.point.concurrency * self.point.output_tokens / (self.ttft_s + self.answer_s)
        return whole / self.point.gpus


def point_of(row: Mapping[str, str]) -> ServingPoint:
    """Return what a row measured; where it does not tell the number of workers, there is one of each.

    Raises:
        ValueError: a column is missing or wrong.
        ModelShapeError: the model is unknown.
    """
    decode, prefill = _told(row, ""), None
    if row["mode"] == "disagg":
        decode, prefill = _told(row, "decode_"), _told(row, "prefill_")
    return serving_point(
        row["model_path"],
        row["system"],
        input_tokens=_number(row["isl"]),
        output_tokens=_number(row["osl"]),
        concurrency=max(1.0, _number(row["concurrency"])),
        prefill=prefill,
        decode=decode,
        engine=row["backend"],
        version=row["backend_version"] or UNTOLD_VERSION,
        precision=row["precision"],
    )


def serving_row(row: Mapping[str, str]) -> ServingRow:
    """Return a row with what it does not tell.

    Raises:
        ValueError: a column is missing or wrong.
        ModelShapeError: the model is unknown.
    """
    point = point_of(row)
    ttft_s, tpot_s = _number(row["silicon_ttft_ms"]) / 1e3, _number(row["silicon_tpot_ms"]) / 1e3
    waited = ttft_s > (point.output_tokens - 1) * tpot_s
    why = _why_untold(row, point) or _why_not_measured(point, ttft_s, tpot_s, waited=waited)
    return ServingRow(row["id"], row["model_path"], row["system"], point, ttft_s, tpot_s, why, not waited)


def with_campaigns(rows: Sequence[ServingRow]) -> list[ServingRow]:
    """Return rows such that all of a model, GPU and version are left out where one of them had cached prompts."""
    cached = {_campaign(row) for row in rows if row.why_untold == PROMPTS_WERE_CACHED}
    return [
        replace(row, why_untold=PROMPTS_WERE_CACHED) if not row.why_untold and _campaign(row) in cached else row
        for row in rows
    ]


def _campaign(row: ServingRow) -> tuple[str, ...]:
    return row.model, row.system, row.point.engine, row.point.version


def _why_untold(row: Mapping[str, str], point: ServingPoint) -> str:
    if not _number(row["concurrency"]):
        return "no concurrency"
    if point.prefill and not (_number(row["prefill_num_workers"]) and _number(row["decode_num_workers"])):
        return "no numbers of workers"
    for workers in (point.decode, point.prefill):
        if workers is None:
            continue
        layout = workers.layout
        if layout.tensor > LARGEST_TENSOR_GROUP:
            return "tp_size is a number of GPUs"
        if weights_on_one_gpu(point.shape, layout) > SERVED_SHARE * point.hardware.memory_bytes:
            return "the model does not fit these GPUs"
    return ""


def _why_not_measured(point: ServingPoint, ttft_s: float, tpot_s: float, *, waited: bool) -> str:
    if waited and point.prefill is None:
        return "most requests waited for a place"
    part = WeightGroup.EXPERTS if point.shape.experts else WeightGroup.ATTENTION
    precision = point.shape.precision(part)
    rate = next(rate for rate in precision.rates if rate in point.hardware.flops)
    most = point.gpus * point.hardware.flops[rate] * MOST_ARITHMETIC.get(rate, 1.0)
    tokens = point.concurrency * (point.input_tokens + point.output_tokens)
    whole_s = ttft_s + (point.output_tokens - 1) * tpot_s
    if point.prefill is None and 2 * point.shape.active_parameters * tokens / whole_s > most:
        return PROMPTS_WERE_CACHED
    return ""


def _told(row: Mapping[str, str], side: str) -> Workers:
    """Return replicas as a row has them.

    Args:
        row: the row.
        side: "", or "prefill_" or "decode_".
    """
    count = max(1, int(_number(row[f"{side}num_workers"]))) if side else 1
    tensor = max(1, int(_number(row[f"{side}tp_size"])))
    data = int(_number(row[f"{side}attention_dp_size"]))
    split = max(1, int(_number(row[f"{side}moe_tp_size"])))
    dealt = max(1, int(_number(row[f"{side}moe_ep_size"])))
    pipeline = max(1, int(_number(row[f"{side}pp_size"])))
    whole = dealt > 1
    if not data:
        data = max(1, split * dealt // tensor)
    elif not side and whole and split > 1:
        tensor, data = (1, split) if data > 1 else (split, 1)
    elif not side and data > 1 and tensor > 1:
        data = 1
    return Workers(Layout(tensor, pipeline, data, experts_whole=whole), count)


def _number(text: str) -> float:
    return float(text) if text else 0.0
