"""What streams on a replica cost each other, learned from streams that ended."""

from random import Random

import pytest

from router.estimator.streams.speed import StreamSpeed


def test_prompts_stop_streams_for_their_own_time_until_stops_are_seen() -> None:
    """Then for the time that streams lost by them: here twice as long as the prompt's computation takes."""
    speed, rng = StreamSpeed(), Random(1)
    assert speed.stopped_s(500, 1e-4) == pytest.approx(0.05)
    for _ in range(200):
        tokens, running, prefilled = rng.randint(50, 400), rng.randint(1, 60), rng.randint(0, 5_000)
        speed.learn(tokens * (0.01 + 1e-4 * running) + prefilled * 2e-4, tokens, running, prefilled, 1e-4)
    assert speed.stopped_s(500, 1e-4) == pytest.approx(0.1, rel=0.02)


def test_stops_and_tokens_are_right_together() -> None:
    """Where prompts come in proportion to the streams the fit cannot tell them apart; their sum is the truth."""
    speed, rng = StreamSpeed(), Random(2)
    for _ in range(200):
        tokens, running = rng.randint(50, 400), rng.randint(30, 60)
        prefilled = tokens * running * 0.1
        speed.learn(tokens * (0.01 + 1e-4 * running) + prefilled * 1e-4, tokens, running, prefilled, 1e-4)
    a_second = 1.0 / speed.mixed_s(46)
    assert speed.mixed_s(46) == pytest.approx(0.01 + 1e-4 * 45 + 0.1 * 45 * 1e-4, rel=0.02)
    spared_s = a_second * (speed.mixed_s(46) - speed.each_s(45))
    assert speed.stopped_s(a_second * 45 * 0.1, 1e-4) == pytest.approx(spared_s, rel=0.05)
