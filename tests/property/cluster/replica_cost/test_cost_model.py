"""What holds of any model on any hardware: more of anything good is never worse."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.model_shapes.known_models import KNOWN_CONFIGS, known_model
from cluster.model_shapes.precision import PRECISIONS
from cluster.replica_cost.cost_model import ReplicaCost, Work
from cluster.replica_cost.hardware import ACCELERATORS
from cluster.replica_cost.layout import Layout

works = st.builds(
    Work,
    input_tokens=st.integers(1, 20_000).map(float),
    output_tokens=st.integers(1, 4_000).map(float),
    prefix_hit=st.floats(0, 1),
    output_spread=st.floats(0, 2),
)


@st.composite
def costs(draw: st.DrawFn) -> ReplicaCost:
    """Draw a model in any format on any hardware in any layout that is possible."""
    shape = known_model(draw(st.sampled_from(sorted(KNOWN_CONFIGS))))
    shape = shape.in_precision(PRECISIONS[draw(st.sampled_from(sorted(PRECISIONS)))])
    hardware = ACCELERATORS[draw(st.sampled_from(sorted(ACCELERATORS)))]
    whole = shape.experts is not None and draw(st.booleans())
    layout = Layout(
        tensor=draw(st.sampled_from([1, 2, 3, 4, 8])),
        pipeline=draw(st.integers(1, 8)),
        data=draw(st.sampled_from([1, 2, 4, 8])) if whole else 1,
        experts_whole=whole,
    )
    while layout.why_not(shape, hardware):
        layout = replace(layout, tensor=1, data=max(1, layout.data // 2))
    return ReplicaCost(shape, hardware, layout, PRECISIONS[draw(st.sampled_from(["bf16", "fp8"]))])


@given(costs(), works, st.integers(1, 500), st.integers(1, 500))
@settings(max_examples=200)
def test_larger_batches_are_slower_and_serve_no_less(cost: ReplicaCost, work: Work, batch: int, more: int) -> None:
    """Each sequence's pace falls with the batch; the replica's throughput doesn't, once its stages are all busy."""
    batch = max(batch, cost.layout.pipeline)
    small, large = cost.steady(batch, work), cost.steady(batch + more, work)
    assert 0 < small.tpot_s <= large.tpot_s * (1 + 1e-9)
    assert large.output_tokens_per_s >= small.output_tokens_per_s * (1 - 1e-9)
    assert 0 <= small.prefill_share < 1
    assert small.ttft_s > 0


@given(costs(), works, st.integers(1, 500), st.sampled_from(["memory_bytes_per_s", "link_bytes_per_s", "memory_bytes"]))
@settings(max_examples=200)
def test_better_hardware_is_never_slower(cost: ReplicaCost, work: Work, batch: int, figure: str) -> None:
    """Twice the bandwidth, links or memory: at least as quick, at least as many sequences."""
    better = replace(cost, hardware=replace(cost.hardware, **{figure: 2 * getattr(cost.hardware, figure)}))
    assert better.steady(batch, work).tpot_s <= cost.steady(batch, work).tpot_s * (1 + 1e-9)
    assert better.sequences(1000) >= cost.sequences(1000)


@given(costs(), works, st.integers(1, 500), st.floats(0, 1))
@settings(max_examples=200)
def test_a_warmer_cache_is_never_slower(cost: ReplicaCost, work: Work, batch: int, hit: float) -> None:
    """The more of each prompt is cached, the quicker the replica."""
    warmer = replace(work, prefix_hit=max(hit, work.prefix_hit))
    colder = replace(work, prefix_hit=min(hit, work.prefix_hit))
    assert cost.steady(batch, warmer).tpot_s <= cost.steady(batch, colder).tpot_s * (1 + 1e-9)


@given(costs())
def test_all_gpus_together_hold_the_model(cost: ReplicaCost) -> None:
    """The fullest GPU's share times the GPUs is at least the model; its parts are its memory."""
    memory = cost.memory
    assert memory.weights * cost.layout.gpus >= cost.shape.weight_bytes * (1 - 1e-9) or cost.shape.tied
    used = memory.weights + memory.activations + memory.runtime + memory.kv_cache + memory.reserve
    assert abs(used - cost.hardware.memory_bytes) < 1
