"""The cost model against published results, and against sums done by hand."""

import math
from random import Random

import pytest

from cluster.model_shapes.known_models import known_model
from cluster.model_shapes.precision import FP8, NVFP4
from cluster.replica_cost.communication import LINK_LATENCY_S, NETWORK_LATENCY_S, stage_hop_s
from cluster.replica_cost.cost_model import ReplicaCost, Work
from cluster.replica_cost.hardware import ACCELERATORS
from cluster.replica_cost.layout import Layout
from cluster.replica_cost.memory import RUNTIME_BYTES, memory_use, weights_on_one_gpu
from cluster.replica_cost.queueing import mean_of_largest

LLAMA_8B, LLAMA_70B, R1 = known_model("llama-3.1-8b"), known_model("llama-3.1-70b"), known_model("deepseek-r1")
H100, GB200 = ACCELERATORS["h100"], ACCELERATORS["gb200"]
CHAT = Work(input_tokens=1000, output_tokens=200)


def test_one_sequence_is_bound_by_reading_the_weights() -> None:
    """By hand: all matrices once at the share of 3.35 TB/s that reading reaches; fixed times."""
    cost = ReplicaCost(LLAMA_8B, H100, Layout())
    step, c = cost.step(1, 0, CHAT), cost.coefficients
    reached = H100.memory_bytes_per_s * c.weight_memory
    assert step.mlp == pytest.approx(32 * LLAMA_8B.mlp_parameters * 2 / reached, rel=1e-3)
    assert step.latency == pytest.approx(32 * c.layer_s * c.decode_pace)
    assert step.host == pytest.approx((c.step_s + c.sequence_s) * c.decode_pace)
    assert step.projections + step.mlp + step.head > 0.6 * step.total


def test_a_long_prompt_is_bound_by_arithmetic() -> None:
    """By hand: two operations for each parameter and token, and causal attention, at shares of 989 TFLOPS."""
    cost = ReplicaCost(LLAMA_8B, H100, Layout())
    step, c = cost.step(0, 8000, Work(input_tokens=8000, output_tokens=1)), cost.coefficients
    matrices = 32 * LLAMA_8B.attention.parameters + 32 * LLAMA_8B.mlp_parameters
    assert step.projections + step.mlp == pytest.approx(2 * matrices * 8000 / (989.5e12 * c.bf16), rel=0.01)
    assert step.attention == pytest.approx(32 * 4 * 32 * 128 * 8000 * 4000 / (989.5e12 * c.prompt_attention), rel=0.01)


def test_a_cached_prefix_saves_its_work() -> None:
    """Half of the prompt cached: half the tokens, each of which still looks back on all before it."""
    half = Work(input_tokens=1000, output_tokens=200, prefix_hit=0.5)
    assert (CHAT.new_tokens, half.new_tokens) == (1000, 500)
    assert (CHAT.mean_prefill_context, half.mean_prefill_context) == (500, 750)
    assert Work(1000, 200, prefix_hit=1.0).new_tokens == 1
    cost = ReplicaCost(LLAMA_70B, H100, Layout(tensor=4))
    assert cost.steady(16, half).output_tokens_per_s > cost.steady(16, CHAT).output_tokens_per_s
    assert cost.steady(16, half).ttft_s < cost.steady(16, CHAT).ttft_s


def test_long_answers_are_over_represented_among_the_running() -> None:
    """Lengths 0 and 2 000 in equal number: only those of 2 000 are ever seen running."""
    assert Work(0, 1000, output_spread=1.0).mean_context == 1000
    assert Work(0, 1000).mean_context == 500


def test_collectives_by_hand() -> None:
    """Ring all-reduces of every layer over the links, each with its latency; hops over link or network."""
    cost = ReplicaCost(LLAMA_8B, H100, Layout(tensor=8))
    step, c = cost.step(64, 0, CHAT), cost.coefficients
    sent = 2 * 7 / 8 * 64 * 4096 * 2 / (450e9 * c.link)
    assert step.all_reduce == pytest.approx(2 * 32 * (sent + c.all_reduce_s) * c.decode_pace)
    assert stage_hop_s(0, 1e9, within_domain=True) == LINK_LATENCY_S
    assert stage_hop_s(8e8, 1e9, within_domain=False) == pytest.approx(1.0 + NETWORK_LATENCY_S)


def test_tensor_parallelism_buys_time_and_pays_in_communication() -> None:
    """Four GPUs are quicker than one, but less than four times."""
    one, four = (ReplicaCost(LLAMA_8B, H100, Layout(tensor=size)).step(64, 0, CHAT) for size in (1, 4))
    assert one.total / 4 < four.total < one.total
    assert four.mlp == pytest.approx(one.mlp / 4, rel=0.01)
    assert one.all_reduce == 0 < four.all_reduce


def test_pipelines_run_one_batch_in_each_stage() -> None:
    """Two stages hold twice the cache at the same pace a token, or idle when there is but one sequence."""
    flat, piped = (ReplicaCost(LLAMA_70B, H100, layout, FP8) for layout in (Layout(4, 1), Layout(4, 2)))
    work = Work(100, 400)
    assert piped.steady(64, work).tpot_s == pytest.approx(flat.steady(32, work).tpot_s, rel=0.05)
    assert piped.sequences(1000) > 2 * flat.sequences(1000)
    alone = piped.steady(1, work).output_tokens_per_s
    assert alone == pytest.approx(flat.steady(1, work).output_tokens_per_s, rel=0.05)


def test_an_uneven_stage_holds_the_others_up() -> None:
    """61 layers on two stages are 31 and 30: both take 31 layers' time, and two hops come on top."""
    piped = ReplicaCost(R1, GB200, Layout(8, 2))
    work = Work(1, 1e9)
    layers_s = piped.step(8, 0, work).total
    hops_s = 2 * stage_hop_s(8 * 7168 * 2 / 8, GB200.link_bytes_per_s, within_domain=True)
    assert R1.stage_layers(2) == 31
    assert piped.steady(16, work).tpot_s == pytest.approx(layers_s * 62 / 61 + hops_s, rel=1e-6)


def test_ranks_in_lockstep_wait_for_each_other() -> None:
    """Eight ranks with few prompts each: nearly every step somebody has one."""
    layout = Layout(data=8, experts_whole=True)
    cost = ReplicaCost(R1.in_precision(NVFP4), GB200, layout, FP8)
    steady, work = cost.steady(64, Work(1000, 1000)), Work(1000, 1000)
    alone = ReplicaCost(R1.in_precision(NVFP4), GB200, Layout(data=1), FP8)
    assert steady.prefill_share > alone.steady(64, work).prefill_share


def test_the_largest_of_poisson_draws() -> None:
    """By formula for rare events and one draw, by simulation in between."""
    assert mean_of_largest(0.7, 1) == pytest.approx(0.7)
    assert mean_of_largest(1e-6, 8) == pytest.approx(8e-6, rel=1e-3)
    assert mean_of_largest(0.0, 8) == 0
    assert mean_of_largest(900.0, 4) > 900
    rng = Random(5)

    def draw(mean: float) -> int:
        count, product = 0, rng.random()
        while product > math.exp(-mean):
            count, product = count + 1, product * rng.random()
        return count

    simulated = sum(max(draw(0.5) for _ in range(8)) for _ in range(20_000)) / 20_000
    assert mean_of_largest(0.5, 8) == pytest.approx(simulated, rel=0.02)


def test_memory_parts_add_up_to_the_gpu() -> None:
    """Weights, activations, runtime, cache and reserve are all there is."""
    memory = memory_use(LLAMA_70B, H100, Layout(tensor=4), 8192)
    parts = memory.weights + memory.activations + memory.runtime + memory.kv_cache + memory.reserve
    assert parts == pytest.approx(80e9)
    assert memory.runtime == RUNTIME_BYTES
    assert memory.weights == pytest.approx(LLAMA_70B.weight_bytes / 4, rel=0.01)


def test_weights_are_dealt_as_the_layout_says() -> None:
    """Experts over their whole group, everything else over tensor groups and stages; data ranks repeat attention."""
    whole = weights_on_one_gpu(R1, Layout())
    assert whole == pytest.approx(R1.weight_bytes)
    copied = 61 * 7168 * (1536 + 512 + 64)  # what compresses queries, keys and values is whole on each, in FP8
    assert weights_on_one_gpu(R1, Layout(8)) == pytest.approx(whole / 8 + copied * 7 / 8, rel=0.003)
    ranks = weights_on_one_gpu(R1, Layout(1, 1, 8, experts_whole=True))
    assert ranks == pytest.approx(654e9 / 8 + 17e9 + 2e9, rel=0.02)
    assert weights_on_one_gpu(R1, Layout(8, 2)) == pytest.approx((whole / 16 + copied * 7 / 16) * 62 / 61, rel=0.005)
    uneven = weights_on_one_gpu(R1, Layout(1, 1, 72, experts_whole=True))  # 256 experts on 72 GPUs: up to four each
    assert uneven == pytest.approx(654e9 * 4 / 256 + 17e9 + 2e9, rel=0.02)


def test_a_batch_has_at_least_one_sequence() -> None:
    """Anything else is a mistake of the caller's."""
    with pytest.raises(ValueError, match="at least one"):
        ReplicaCost(LLAMA_8B, H100, Layout()).steady(0, CHAT)
