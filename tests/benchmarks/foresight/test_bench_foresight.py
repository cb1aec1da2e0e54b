"""The comparison of twin and cluster in its short form: engines of known speed behind a real gateway."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import uvloop

from cluster.spec.model_spec import ModelSpec
from tests.benchmarks.foresight.bench_foresight import bars, page, rounds_on
from tests.benchmarks.foresight.calibration import StreamsSeen, fitted, positive_fit
from tests.benchmarks.one_replica_cluster import MODEL
from tests.benchmarks.routing.gateways import OURS, gateway
from tests.benchmarks.routing.plain_engines import BLOCK_TOKENS, ENGINES, KV_BLOCKS
from tests.benchmarks.token_streams import Target
from tests.engine_contract.served_engine import ServedEngine

SIM = {
    "prefill_tokens_per_s": 2000.0,
    "inter_token_s": 0.03,
    "inter_token_per_seq_s": 0.003,
    "max_num_seqs": 16,
    "kv_blocks": KV_BLOCKS,
    "block_tokens": BLOCK_TOKENS,
}


def test_the_fit_finds_the_speed_that_made_the_times() -> None:
    """Times made of known coefficients give these again, and the factors by which shared engines are slower."""
    held_up = [(tokens, 2e-4 * tokens + 1e-7 * tokens**2 / 2) for tokens in (210, 410, 610)]
    prompts = [(tokens, 0.02 + 0.01 + seconds) for tokens, seconds in held_up]
    streams = [
        StreamsSeen(count, context, 0.01 + count * (0.002 + 3e-6 * context))
        for count, context in ((1, 80), (2, 80), (4, 80), (6, 80), (1, 620), (3, 620))
    ]
    found = fitted(prompts, held_up, streams, {1: 0.014, 2: 0.0154, 3: 0.021})
    assert found.steps() == pytest.approx(
        {
            "step_s": 0.01,
            "prompt_step_s": 0.01,
            "sequence_s": 0.002,
            "context_token_s": 3e-6,
            "prompt_token_s": 2e-4,
            "attended_s": 1e-7,
        },
        rel=1e-6,
    )
    assert found.request_s == pytest.approx(0.02)
    assert found.slower == pytest.approx((1.0, 1.1, 1.5))


def test_no_coefficient_is_below_zero() -> None:
    """Where the best fit would subtract, the coefficient is left out and the others are fitted without it."""
    columns, values = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]]), np.array([3.0, 2.0, 1.0])
    assert positive_fit(columns, values)[1] == 0.0
    assert positive_fit(columns, values)[0] > 1.0


@pytest.mark.long
def test_the_twin_foresees_engines_of_known_speed(tmp_path: Path) -> None:
    """Three simulated engines behind a gateway: calibrated as real ones, the twin is within 15 % of what they do."""
    spec = ModelSpec.model_validate({"name": MODEL, "engine": "sim", "sim": SIM})
    with ExitStack() as stack:
        engines = [ServedEngine(spec, tmp_path / f"engine-{number}.log") for number in range(ENGINES)]
        for engine in engines:
            stack.callback(engine.close)
        ports = [int(engine.wait_ready().url.rsplit(":", 1)[1]) for engine in engines]
        process = stack.enter_context(gateway(OURS, ports, tmp_path))
        replicas = [Target("127.0.0.1", port, "", MODEL) for port in ports]
        found = uvloop.run(rounds_on(Target("127.0.0.1", process.port, "", MODEL), replicas, 1, 60))
    (only,) = found
    assert only.measured.requests == only.twin.requests >= 60
    assert only.twin.prompt_tokens == pytest.approx(only.measured.prompt_tokens, rel=0.05)
    assert only.before.step_s + only.before.sequence_s == pytest.approx(0.03, rel=0.1)
    assert only.before.prompt_token_s == pytest.approx(1 / 2000, rel=0.1)
    assert all(bar.holds for bar in bars(found)), page(found)
