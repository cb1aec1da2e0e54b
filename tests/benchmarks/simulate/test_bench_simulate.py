"""The benchmark of the twin, in its short form."""

from tests.benchmarks.simulate.mlperf_shapes import run_shape
from tests.benchmarks.simulate.speed import dispatcher_us, run_one


def test_many_gpus_answer_what_few_do() -> None:
    """The same load for each GPU on 8 and on 64: all requests are answered, as many of them in time."""
    few, many = run_one(8, 400), run_one(64, 1200)
    assert few.answered == 400
    assert many.answered == 1200
    assert abs(few.in_time - many.in_time) < 0.1
    assert 0 < dispatcher_us(8, 200) < few.cpu_us


def test_a_rack_runs_offline_samples() -> None:
    """A few hundred samples on one rack of eight-rank replicas, all at once: each GPU gets its share of the tokens."""
    load = {"shape": "offline", "requests": 200, "prompt_tokens": 804, "output_tokens": 300, "spread": 0.2}
    found = run_shape(1, load, 0.0)
    assert found.requests == 200
    assert found.tokens_per_s_per_gpu > 0
