"""The plan file: what is accepted, and how every mistake is told."""

import pytest

from cluster.errors import SpecError
from cluster.planning.plan_file import PLAN_FILE

GOOD = """\
model: llama-3.1-70b
hardware: h100
workload: {input_tokens: 3000, output_tokens: 400, requests_per_s: 12}
slo: {ttft_s: 1, tpot_s: 0.04}
"""


def problems(text: str) -> dict[str, str]:
    """Return what is wrong with `text`, by path."""
    with pytest.raises(SpecError) as caught:
        PLAN_FILE.load(text, "plan.yaml")
    return {problem.path: problem.message for problem in caught.value.problems}


def test_a_short_file_gets_the_defaults() -> None:
    """Model, hardware, workload and SLO are enough."""
    question = PLAN_FILE.load(GOOD, "plan.yaml")
    assert question.workload.work.new_tokens == 3000
    assert question.precisions == ()
    assert (question.kv_precision, question.price, question.limits.load) == ("bf16", None, 0.8)


def test_a_full_file_keeps_every_value() -> None:
    """Values reach the planner as written."""
    question = PLAN_FILE.load(
        """
        model: ./my-model
        hardware: gb300
        workload: {input_tokens: 10, output_tokens: 20, requests_per_s: 0.5, prefix_hit: 0.25, output_spread: 1.1}
        slo: {ttft_s: 0.5, tpot_s: 0.015}
        precisions: [fp8, nvfp4]
        kv_precision: fp8
        price: {gpu_hour: 2.5, currency: EUR}
        limits: {load: 0.7, gpus_per_replica: 8, batch: 64, step_tokens: 2048, memory_share: 0.9}
        """,
        "plan.yaml",
    )
    assert question.precisions == ("fp8", "nvfp4")
    assert question.workload.work.prefix_hit == 0.25
    assert question.price is not None
    assert (question.price.gpu_hour, question.price.currency) == (2.5, "EUR")
    assert question.limits.model_dump() == {
        "load": 0.7,
        "gpus_per_replica": 8,
        "batch": 64,
        "step_tokens": 2048,
        "memory_share": 0.9,
    }


def test_every_problem_is_reported_at_once() -> None:
    """One look at the error is enough to mend the whole file."""
    found = problems(
        """\
model: m
hardware: gb30
workload: {input_tokens: 0, output_tokens: 10.5, requests_per_s: 0, prefix_hitt: 0.5}
slo: {ttft_s: -1}
precisions: [fp8, fp9, fp8]
price: 3
"""
    )
    assert found["hardware"] == "unknown accelerator 'gb30'; did you mean 'gb300'? (line 2)"
    assert found["workload.prefix_hitt"] == "unknown key; did you mean 'prefix_hit'? (line 3)"
    assert "greater than or equal to 1" in found["workload.input_tokens"]
    assert "whole number" in found["workload.output_tokens"]
    assert "greater than 0" in found["workload.requests_per_s"]
    assert "greater than 0" in found["slo.ttft_s"]
    assert found["slo.tpot_s"].startswith("missing")
    assert "must be one of 'bf16', 'fp8'" in found["precisions[1]"]
    assert "'fp8' stands twice" in found["precisions[2]"]
    assert "must be a mapping" in found["price"]


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("", "", "the file is empty; it needs a model, hardware, workload and slo"),
        ("- a", "", "must be a mapping with the keys model, hardware"),
        (GOOD.replace("h100", "abacus"), "hardware", "known: gb300, gb200"),
        (GOOD.replace("h100", "[h100]"), "hardware", "must be text"),
        (GOOD.replace("llama-3.1-70b", "''"), "model", "at least 1 character"),
        (GOOD + "limits: {load: 1.5}", "limits.load", "less than or equal to 1"),
        (GOOD + "kv_precision: int4", "kv_precision", "'bf16' or 'fp8'"),
        ("x" * 2_000_000, "", "is it a plan file?"),
    ],
)
def test_a_wrong_file_is_told_where_and_what(text: str, where: str, words: str) -> None:
    """Each mistake is named at its key, with what would be right."""
    assert words in problems(text)[where]
