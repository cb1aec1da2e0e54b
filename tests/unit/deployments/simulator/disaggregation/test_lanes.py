"""An engine of several lanes: data-parallel ranks that step together, each with a budget of its own."""

from cluster.model_shapes.known_models import known_model
from cluster.model_shapes.precision import FP8, NVFP4
from cluster.replica_cost.cost_model import ReplicaCost
from cluster.replica_cost.hardware import ACCELERATORS
from cluster.replica_cost.layout import Layout
from deployments.simulator.disaggregation.engine_sequence import Leg
from deployments.simulator.disaggregation.transferring_replica import TransferringReplica
from deployments.twin.engines.grid_times import GridTimes

STEP_TOKENS = 4096


def _engine(ranks: int) -> TransferringReplica[int]:
    shape = known_model("deepseek-r1").in_precision(NVFP4)
    layout = Layout(8 // ranks, 1, ranks, experts_whole=True)
    cost = ReplicaCost(shape, ACCELERATORS["gb300"], layout, FP8, STEP_TOKENS)
    return TransferringReplica(GridTimes(cost), kv_tokens=4_000_000, step_tokens=STEP_TOKENS, max_sequences=1024)


def _first_tokens(engine: TransferringReplica[int]) -> list[tuple[float, int]]:
    """Let an engine work until it is idle; return when each owner's first token came."""
    found: list[tuple[float, int]] = []
    while (now_s := engine.next_s) is not None:
        found += [(now_s, sequence.owner) for sequence in engine.advance().began]
    return found


def test_each_rank_computes_a_prompt_of_its_own_in_the_same_step() -> None:
    """Nine prompts of a full step at eight ranks: eight first tokens at once, and the ninth a step later."""
    engine = _engine(8)
    engine.add(0, Leg.WHOLE, (), 1, 1, 0.0)  # the others come while this step is under way
    for owner in range(1, 10):
        engine.add(owner, Leg.WHOLE, (), STEP_TOKENS, 1, 0.0)
    times = [at_s for at_s, _ in _first_tokens(engine)]
    assert len(times) == 10
    assert len(set(times[1:9])) == 1
    assert times[9] > times[8]


def test_one_rank_computes_them_one_after_the_other() -> None:
    """The same prompts in one lane: a step each."""
    engine = _engine(1)
    for owner in range(5):
        engine.add(owner, Leg.WHOLE, (), STEP_TOKENS, 1, 0.0)
    times = [at_s for at_s, _ in _first_tokens(engine)]
    assert times == sorted(set(times))


def test_a_prompts_chunks_follow_one_another_through_the_stages_of_a_pipeline() -> None:
    """Eight full steps of one prompt go through two stages in four rounds, as four of each of two prompts do."""
    shape = known_model("llama-3.1-405b").in_precision(NVFP4)
    cost = ReplicaCost(shape, ACCELERATORS["gb200"], Layout(2, 2), FP8, STEP_TOKENS)
    ended_s = []
    for prompts in (1, 2):
        engine: TransferringReplica[int] = TransferringReplica(
            GridTimes(cost), kv_tokens=4_000_000, step_tokens=STEP_TOKENS, max_sequences=64
        )
        engine.add(0, Leg.WHOLE, (), 1, 1, 0.0)  # the others come while this step is under way
        for owner in range(prompts):
            engine.add(owner, Leg.WHOLE, (), 8 // prompts * STEP_TOKENS, 1, 0.0)
        rounds = 0
        while engine.next_s is not None:
            ended_s.append(engine.next_s)
            engine.advance()
            rounds += 1
        assert rounds == 5
    assert ended_s[4] < 1.3 * ended_s[9]  # longer contexts, no longer queue


def test_a_stopped_engine_says_how_much_of_each_answer_came() -> None:
    """One answer is half done, one has not begun: what was sent is what a client has seen."""
    engine = _engine(8)
    engine.add(1, Leg.WHOLE, (), 100, 200, 0.0)
    while not engine.advance().began:
        pass
    assert engine.next_s is not None
    began_s = engine._began_s
    halfway_s = began_s + (engine.next_s - began_s) / 2
    engine.add(2, Leg.WHOLE, (), 3_999_000, 200, halfway_s)
    stopped = {sequence.owner: sent for sequence, sent in engine.stop(halfway_s)}
    assert stopped[2] == 0
    assert 95 <= stopped[1] <= 105
    assert engine.is_idle
    assert not _first_tokens(engine)
