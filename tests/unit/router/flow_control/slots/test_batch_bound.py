"""How many requests a replica may run so that its streams keep their time per token."""

from math import inf
from random import Random

import pytest

from router.estimator.streams.speed import StreamSpeed
from router.flow_control.slots.batch_bound import BatchBound


def _engine(streams: float, prompts: float = 0.0) -> float:
    """Return the seconds of a token: 15 ms alone, 0.8 ms for each other, and 0.4 ms for each one's prompt."""
    return 0.015 + 0.0008 * (streams - 1) + prompts * 0.0004 * streams


def _learned(prompts: float = 0.0, sigma: float = 0.0, doubled: float = 0.0) -> StreamSpeed:
    """Return what 2 000 streams taught that scatter by `sigma`, `doubled` of which took twice the time."""
    speed, rng = StreamSpeed(), Random(0)
    for _ in range(2_000):
        streams, tokens = rng.randint(1, 60), rng.randint(100, 900)
        prefilled = prompts * 8.0 * streams * tokens  # 8 prompt tokens of each stream between two tokens, 50 µs each
        times = rng.lognormvariate(0.0, sigma) * (2.0 if rng.random() < doubled else 1.0)
        speed.learn(tokens * _engine(streams, prompts) * times, tokens, streams - 1, prefilled, 5e-5)
    return speed


@pytest.mark.parametrize("prompts", [0.0, 1.0])
def test_the_bound_is_the_batch_whose_tokens_take_nearly_the_targets_time(prompts: float) -> None:
    """Streams that are alike all keep it up to there, and none beyond. With prompts between tokens fewer keep it."""
    bound = BatchBound(_learned(prompts))
    assert 0.9 * 0.050 < _engine(bound.most(0.050), prompts) <= 0.050
    assert bound.most(inf) == inf


@pytest.mark.parametrize("sigma", [0.05, 0.15, 0.3])
def test_the_bound_is_the_batch_with_most_streams_in_time(sigma: float) -> None:
    """Of any batch: streams that end in a second, times the share of them that is in time. Within 5 % of the best."""
    target_s, rng = 0.050, Random(1)
    times = [rng.lognormvariate(0.0, sigma) for _ in range(4_000)]

    def in_time_per_s(streams: float) -> float:
        return streams / _engine(streams) * sum(_engine(streams) * each <= target_s for each in times)

    most = BatchBound(_learned(sigma=sigma)).most(target_s)
    assert in_time_per_s(most) >= 0.95 * max(in_time_per_s(streams) for streams in range(1, 100))


def test_streams_that_are_slow_at_any_batch_do_not_make_it_small() -> None:
    """One in ten has a long prompt between its tokens and misses the target even alone: the others keep their batch."""
    alike, doubled = (BatchBound(_learned(doubled=share)).most(0.029) for share in (0.0, 0.1))
    assert doubled > 0.7 * alike


def test_a_target_that_nobody_can_keep_bounds_nothing() -> None:
    """Waiting would only add a late first token to slow ones."""
    assert BatchBound(_learned()).most(0.001) == inf


def test_a_bound_follows_what_is_learned() -> None:
    """Streams that are twice as slow from now on have a smaller batch."""
    speed, rng = _learned(), Random(2)
    bound = BatchBound(speed)
    before = bound.most(0.050)
    for _ in range(1_000):
        streams = rng.randint(1, 30)
        speed.learn(300 * 2 * _engine(streams), 300, streams - 1, 0.0, 5e-5)
    assert 0.9 * 0.050 < 2 * _engine(bound.most(0.050)) <= 0.051
    assert bound.most(0.050) < before
