"""How many requests a replica may run so that its streams keep their time per token."""

from math import inf
from random import Random

import pytest

from router.estimator.stream_speed import StreamSpeed
from router.flow_control.slots.batch_bound import FIRST_MARGIN, LEAST_MARGIN, MOST_MARGIN, BatchBound


def _engine(streams: float, prompts: float = 0.0) -> float:
    """Return the seconds of a token: 15 ms alone, 0.8 ms for each other, and 0.4 ms for each one's prompt."""
    return 0.015 + 0.0008 * (streams - 1) + prompts * 0.0004 * streams


def _learned(prompts: float) -> StreamSpeed:
    speed, rng = StreamSpeed(), Random(0)
    for _ in range(400):
        streams, tokens = rng.randint(1, 60), rng.randint(100, 900)
        prefilled = prompts * 8.0 * streams * tokens  # 8 prompt tokens of each stream between two tokens, 50 µs each
        speed.learn(tokens * _engine(streams, prompts), tokens, streams - 1, prefilled, 5e-5)
    return speed


@pytest.mark.parametrize("prompts", [0.0, 1.0])
def test_the_bound_is_the_batch_whose_tokens_take_the_targets_time(prompts: float) -> None:
    """With prompts to compute between tokens fewer streams keep it."""
    bound = BatchBound(_learned(prompts))
    most = bound.most(0.050 / FIRST_MARGIN)
    assert _engine(most, prompts) == pytest.approx(0.050, rel=0.05)
    assert bound.most(inf) == inf
    assert bound.most(0.001) == 1.0


def test_slow_streams_move_the_bound_until_few_are_slow() -> None:
    """Streams that scatter by a third around the mean: in the end about the share is slow that may be."""
    rng, target_s = Random(1), 0.050
    bound = BatchBound(_learned(0.0))
    slow = 0
    for number in range(6_000):
        streams = bound.most(target_s)
        token_s = _engine(streams) * rng.lognormvariate(0.0, 0.3)
        bound.learn(token_s, streams, target_s, 0.05)
        slow += token_s > target_s and number >= 3_000
    assert slow / 3_000 == pytest.approx(0.05, abs=0.02)
    assert LEAST_MARGIN < bound.margin < FIRST_MARGIN


def test_a_replica_with_few_streams_says_nothing_of_more() -> None:
    """Streams in time beside few others do not raise the bound; those near it do, up to a limit."""
    bound = BatchBound(StreamSpeed())
    for _ in range(10_000):
        bound.learn(0.011, 2, 0.050, 0.05)
    assert bound.margin == FIRST_MARGIN
    for _ in range(10_000):
        bound.learn(0.011, bound.most(0.050), 0.050, 0.05)
    assert bound.margin == MOST_MARGIN
