"""MLPerf's server and offline scenarios of DeepSeek-R1 on one rack of GB300 and on four, in the twin.

Replicas are those of the published submissions (`cluster.foresight.mlperf_rows`: eight ranks, whole experts, NVFP4),
a gateway for each rack. The rules are LoadGen's: server is Poisson and keeps 99 % of the requests within 2 s to the
first token and 80 ms a token; offline sends all samples at once, as many for each GPU. Offline's throughput is all
tokens over the time until the last answer. Submissions of server send for so long that the time after the last
request hardly shows; here it is left out: its throughput is that of the second half of the time in which requests come.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cluster.model_shapes.known_models import known_model
from cluster.spec import cluster_file
from deployments.twin.closed_loop import streams
from deployments.twin.cluster import Cluster
from deployments.twin.run import TwinRun
from deployments.twin.scenario_file import SCENARIO_FILE

RACK_GPUS: Final = 72
RANKS: Final = 8
TTFT_S: Final = 2.0
TPOT_S: Final = 0.08
SHARE: Final = 0.99
ARRIVALS_S: Final = 1200.0
"""Seconds in which requests come: twice LoadGen's `*.Server.min_duration`, and several times as long as an answer."""
OFFLINE_S: Final = 660.0
"""Seconds for which LoadGen sends offline samples enough, at the rate that the submitter expects: its `min_duration` of
600 s and a tenth. So the samples of each GPU are as many on a large system as on a small one."""
EXPECTED_PER_RACK_S: Final = 108.0
"""Offline samples a second that a submitter expects of a rack: the published 5 842.5 tokens/s/GPU of v5.1."""
PROMPT_TOKENS: Final = 804
OUTPUT_TOKENS: Final = 3886
OUTPUT_SPREAD: Final = 0.9
"""Standard deviation of the logarithms: that of a log-normal whose own is 1.114 of its mean, as the dataset's is."""
MOST_TOKENS: Final = 20_000
RATE_STEP: Final = 0.02
"""Share by which two rates differ that are tried one after the other."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One scenario on one size.

    Attributes:
        gpus: GPUs.
        per_s: requests a second; 0: offline.
        tokens_per_s_per_gpu: its throughput.
        ttft_p99_s: 99th percentile of the time to first token.
        tpot_p99_s: 99th percentile of the time per token.
        requests: requests sent.
    """

    gpus: int
    per_s: float
    tokens_per_s_per_gpu: float
    ttft_p99_s: float
    tpot_p99_s: float
    requests: int

    @property
    def holds(self) -> bool:
        """Whether it keeps the server scenario's limits."""
        return self.ttft_p99_s <= TTFT_S and self.tpot_p99_s <= TPOT_S


def run_shape(racks: int, load: dict[str, Any], per_s: float, until_s: float = 0.0, seed: int = 0) -> Shape:
    """Run one load on some racks.

    Args:
        racks: number of racks.
        load: the load.
        per_s: its requests a second; 0: offline.
        until_s: time until which requests come, in whose second half the throughput is taken; 0: until the last answer.
        seed: seed of the load.
    """
    gpus = racks * RACK_GPUS
    model = {
        "name": "r1",
        "source": "deepseek-ai/DeepSeek-R1",
        "replicas": gpus // RANKS,
        "parallel": {"tensor": 1, "data": RANKS, "expert": RANKS},
        "kv_cache": {"dtype": "fp8"},
        "engine_args": {"max_num_seqs": 1280, "max_num_batched_tokens": 6656, "gpu_memory_utilization": 0.95},
        "max_wait_s": 1e6,
    }
    scenario = SCENARIO_FILE.from_data(
        {"hardware": "gb300", "models": {"r1": {"precision": "nvfp4"}}, "load": [load]}, "mlperf"
    )
    gateway = {"replicas": racks, "max_waiting_requests": 10_000_000}
    spec = cluster_file.from_data({"models": [model], "gateway": gateway}, "mlperf")
    cluster = Cluster.of(spec, scenario, lambda name, _: known_model(name), source="mlperf")
    run = TwinRun(cluster, streams(scenario.load, seed), seed)
    run.run()
    run.check_integrity()
    columns = run.records.columns()
    tokens_per_s = float(columns.output.sum()) / run.ended_s
    if until_s:
        begin_s, spans_s = until_s / 2, np.maximum(1e-9, columns.last_s - columns.first_s)
        inside_s = np.clip(np.minimum(columns.last_s, until_s) - np.maximum(columns.first_s, begin_s), 0.0, None)
        tokens_per_s = float((columns.output * inside_s / spans_s).sum()) / (until_s - begin_s)
    return Shape(
        gpus,
        per_s,
        tokens_per_s / gpus,
        float(np.quantile(columns.ttft_s, SHARE)),
        float(np.quantile(columns.tpot_s[columns.output > 1], SHARE)),
        run.arrived,
    )


def offline(racks: int, seconds: float = OFFLINE_S) -> Shape:
    """Return the offline scenario, with samples for some seconds."""
    load = {"shape": "offline", "requests": round(racks * EXPECTED_PER_RACK_S * seconds), **_lengths()}
    return run_shape(racks, load, 0.0)


def server(racks: int, seconds: float, guess_per_rack_s: float, say: Callable[[str], None]) -> Shape:
    """Return the server scenario at the highest rate that keeps its limits, in steps of `RATE_STEP`.

    Args:
        racks: number of racks.
        seconds: seconds in which requests come.
        guess_per_rack_s: requests a second of a rack at which the search begins.
        say: shows progress.
    """

    def at(step: int) -> Shape:
        per_s = racks * guess_per_rack_s * (1 + RATE_STEP) ** step
        load = {"rate": per_s, "requests": round(per_s * seconds), **_lengths()}
        found = run_shape(racks, load, per_s, seconds)
        say(
            f"{found.gpus} GPUs, {per_s:.1f} requests/s: TTFT p99 {found.ttft_p99_s:.2f} s, TPOT p99 "
            f"{found.tpot_p99_s * 1e3:.1f} ms, {found.tokens_per_s_per_gpu:,.0f} tokens/s/GPU"
        )
        return found

    step, width = 0, 8
    best = at(0)
    low, high = (0, None) if best.holds else (None, 0)
    while low is None or high is None:
        step += width if low is not None else -width
        tried = at(step)
        if tried.holds:
            low, best = step, tried
        else:
            high = step
    while high - low > 1:
        middle = (low + high) // 2
        tried = at(middle)
        if tried.holds:
            low, best = middle, tried
        else:
            high = middle
    return best


def _lengths() -> dict[str, Any]:
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "output_tokens": OUTPUT_TOKENS,
        "spread": 0.5,
        "output_spread": OUTPUT_SPREAD,
        "most_tokens": MOST_TOKENS,
    }
