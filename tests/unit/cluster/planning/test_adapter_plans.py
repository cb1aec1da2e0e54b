"""LoRA adapters in a plan: the memory of their slots, as vLLM reserves it, and what they add to a step."""

from typing import Any

import pytest

from cluster.adapter_room.adapter_plan import AdapterPlan
from cluster.adapter_room.adapter_values import AdapterValues
from cluster.model_shapes.known_models import known_model
from cluster.planning.answer import cluster_file_entry, plan_data
from cluster.planning.option import costs
from cluster.planning.plan_file import PLAN_FILE
from cluster.planning.planner import Plan, plan
from cluster.replica_cost.layout import Layout
from cluster.replica_cost.memory import with_adapters
from cluster.spec.cluster_file import from_data

VLLM_FLOAT32_BYTES = 25_903_104
"""What vLLM 0.32 reserves for SmolLM2-135M: two slots of rank 8, float32 (engine_contract/test_adapter_memory.py)."""


def _planned(model: str, **keys: Any) -> Plan:  # noqa: ANN401 - a plan file's values
    data = {
        "model": model,
        "hardware": "h100",
        "workload": {"input_tokens": 2000, "output_tokens": 300, "requests_per_s": 10},
        "slo": {"ttft_s": 2.0, "tpot_s": 0.05},
        **keys,
    }
    return plan(PLAN_FILE.from_data(data, "test"), known_model(model))


def test_slots_take_what_vllm_reserves() -> None:
    """To the byte, of all matrices and both tables, in half the bytes of float32."""
    values = known_model("smollm2-135m").adapter
    assert AdapterPlan(slots=2, rank=8).bytes_on_one_gpu(values, 1, 0.0, 1.0) == VLLM_FLOAT32_BYTES / 2


def test_a_tensor_group_divides_only_a_part() -> None:
    """Of Llama's matrices the side of the rank is on every GPU; stages divide layers, and none has both tables."""
    values, slots = known_model("llama-3.1-70b").adapter, AdapterPlan(slots=1, rank=1)
    one, eight = (slots.bytes_on_one_gpu(values, tensor, 0.0, 1.0) for tensor in (1, 8))
    assert one / 8 < eight < one / 2
    layers = one - 2 * values.tables
    assert slots.bytes_on_one_gpu(values, 1, 0.0, 0.25) == layers / 4 + values.tables
    assert slots.bytes_on_one_gpu(AdapterValues(of_experts=800), 4, 1 / 16, 1.0) == 100, "experts go with their GPUs"


def test_adapters_take_memory_and_time_of_every_layout() -> None:
    """The KV cache has that much less; a step takes longer by their launches and by their work."""
    data = {
        "model": "llama-3.1-70b",
        "hardware": "h100",
        "workload": {"input_tokens": 2000, "output_tokens": 300, "requests_per_s": 10},
        "slo": {"ttft_s": 2.0, "tpot_s": 0.05},
    }
    shape, layout = known_model("llama-3.1-70b"), Layout(4)
    adapters = AdapterPlan(slots=8, rank=16)
    (without,) = costs(PLAN_FILE.from_data(data, "test"), shape, layout)
    (beside,) = costs(PLAN_FILE.from_data({**data, "adapters": {"slots": 8, "rank": 16}}, "test"), shape, layout)
    assert beside.memory == with_adapters(without.memory, shape, layout, adapters)
    assert beside.memory.kv_cache == without.memory.kv_cache - beside.memory.adapters
    work = PLAN_FILE.from_data(data, "test").workload.work
    few, many = (beside.step(sequences, 0.0, work) for sequences in (1, 64))
    assert without.step(64, 0.0, work).adapters == 0
    assert many.total - many.adapters == pytest.approx(without.step(64, 0.0, work).total)
    assert 0 < few.adapters < many.adapters < 0.3 * many.total


def test_the_plan_says_it_and_the_cluster_file_has_it() -> None:
    """Memory and time by part, and the entry's keys; a plan without adapters has neither."""
    answer = _planned("llama-3.1-70b", adapters={"slots": 8})
    data = plan_data(answer)
    assert data["best"]["memory_bytes_per_gpu"]["adapters"] > 0
    assert data["best"]["step_s"]["adapters"] > 0
    (model,) = from_data({"models": [cluster_file_entry(answer)]}, "plan").models
    assert (model.adapter_slots, model.adapter_rank) == (8, 16)
    assert "adapter_slots" not in (cluster_file_entry(_planned("llama-3.1-70b")) or {})


def test_slots_that_leave_no_room_are_the_reason() -> None:
    """A layout in which weights fit alone."""
    answer = _planned("llama-3.1-70b", adapters={"slots": 64, "rank": 64})
    reasons = {str(option.layout): option.why_lost for option in answer.others}
    assert any("+ adapters " in reason for reason in reasons.values()), reasons
