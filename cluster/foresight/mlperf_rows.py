"""Published results that the cost model is checked against and not fitted to, with each submission's layout and limits.

All are MLPerf Inference v5.1, closed division, offline: results from mlcommons/inference_results_v5.1
(`summary_results.json`), layouts and limits from the submissions' own `configs/…/Offline/*.py` there. Lengths are
those of MLPerf's datasets: DeepSeek-R1's 4 388 reasoning prompts with answers cut at 20 000 tokens (mean 3 886.2, as
the reference reports), Llama-3.1-405B's 8 313 and Llama-3.1-8B's 13 368 summaries (128 tokens each).
"""

from dataclasses import dataclass
from typing import Final

from cluster.foresight.offline_run import offline_tokens_per_s
from cluster.model_shapes.known_models import known_model
from cluster.model_shapes.precision import FP8, NVFP4, Precision
from cluster.replica_cost.cost_model import ReplicaCost, Work
from cluster.replica_cost.hardware import ACCELERATORS
from cluster.replica_cost.layout import Layout

RUN_S: Final = 660.0
"""Seconds of an offline run: LoadGen's `min_duration` of 600 s and a tenth."""
REASONING: Final = Work(input_tokens=803.8, output_tokens=3886.2, output_spread=1.114)
LONG_SUMMARIES: Final = Work(input_tokens=9428.6, output_tokens=684.7, output_spread=0.381)
SHORT_SUMMARIES: Final = Work(input_tokens=870.7, output_tokens=128.0)


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One published throughput.

    Attributes:
        entry: number and submitter of the submission.
        hardware: name of the accelerator.
        model: name of the known model.
        precision: number format of its weights.
        layout: layout of each of the submission's replicas.
        work: prompt and answer lengths of the dataset.
        max_batch: most sequences that run at once on each data-parallel rank, as configured.
        step_tokens: tokens of the largest step, as configured.
        usable_share: share of a GPU's memory that may be used, as configured.
        tokens_per_s_per_gpu: the published result, output tokens a second for each GPU.
        engine: the engine that the submission ran.
        most_tokens: longest answer; None: answers are not cut.
    """

    entry: str
    hardware: str
    model: str
    precision: Precision
    layout: Layout
    work: Work
    max_batch: int
    step_tokens: int
    usable_share: float
    tokens_per_s_per_gpu: float
    engine: str = "trtllm"
    most_tokens: int | None = None

    @property
    def cost(self) -> ReplicaCost:
        """The cost model of one of the submission's replicas."""
        return ReplicaCost(
            shape=known_model(self.model).in_precision(self.precision),
            hardware=ACCELERATORS[self.hardware],
            layout=self.layout,
            kv_precision=FP8,
            step_tokens=self.step_tokens,
            usable_share=self.usable_share,
            engine=self.engine,
        )

    @property
    def requests_of_each_rank(self) -> float:
        """Requests that a data-parallel rank gets: LoadGen sends enough for `RUN_S` at the speed that is expected."""
        each_s = self.tokens_per_s_per_gpu * self.layout.gpus / self.layout.data / self.work.output_tokens
        return RUN_S * each_s

    @property
    def predicted_tokens_per_s_per_gpu(self) -> float:
        """The throughput that the cost model predicts for the whole run, output tokens a second for each GPU."""
        requests, most = self.requests_of_each_rank, self.most_tokens
        return offline_tokens_per_s(self.cost, self.work, requests, self.max_batch, most) / self.layout.gpus

    @property
    def error(self) -> float:
        """Relative error of the prediction: 0.1 is 10 % above the published result."""
        return self.predicted_tokens_per_s_per_gpu / self.tokens_per_s_per_gpu - 1


_ATTENTION_DP8: Final = Layout(tensor=1, pipeline=1, data=8, experts_whole=True)

PUBLISHED_ROWS: Final = (
    PublishedRow(
        "5.1-0071 NVIDIA",
        "gb200",
        "deepseek-r1",
        NVFP4,
        _ATTENTION_DP8,
        REASONING,
        512,
        4608,
        0.9,
        4023.8,
        "trtllm",
        20_000,
    ),
    PublishedRow(
        "5.1-0072 NVIDIA",
        "gb300",
        "deepseek-r1",
        NVFP4,
        _ATTENTION_DP8,
        REASONING,
        1280,
        6656,
        0.95,
        5842.5,
        "trtllm",
        20_000,
    ),
    PublishedRow(
        "5.1-0069 NVIDIA",
        "b200",
        "deepseek-r1",
        NVFP4,
        _ATTENTION_DP8,
        REASONING,
        512,
        4608,
        0.9,
        4172.4,
        "trtllm",
        20_000,
    ),
    PublishedRow(
        "5.1-0071 NVIDIA", "gb200", "llama-3.1-405b", NVFP4, Layout(2, 2), LONG_SUMMARIES, 2048, 1536, 0.95, 205.2
    ),
    PublishedRow(
        "5.1-0072 NVIDIA", "gb300", "llama-3.1-405b", NVFP4, Layout(2, 1), LONG_SUMMARIES, 2048, 1536, 0.95, 223.7
    ),
    PublishedRow(
        "5.1-0069 NVIDIA", "b200", "llama-3.1-405b", NVFP4, Layout(2, 2), LONG_SUMMARIES, 128, 1536, 0.95, 203.0
    ),
    PublishedRow("5.1-0075 Nebius", "h200", "llama-3.1-405b", FP8, Layout(4, 2), LONG_SUMMARIES, 512, 1536, 0.95, 69.1),
    PublishedRow("5.1-0069 NVIDIA", "b200", "llama-3.1-8b", NVFP4, Layout(), SHORT_SUMMARIES, 6000, 12000, 0.9, 17094),
    PublishedRow(
        "5.1-0083 Red Hat", "h100", "llama-3.1-8b", FP8, Layout(), SHORT_SUMMARIES, 1024, 8192, 0.92, 5777.1, "vllm"
    ),
    PublishedRow(
        "5.1-0082 Red Hat", "l40s", "llama-3.1-8b", FP8, Layout(), SHORT_SUMMARIES, 256, 8192, 0.92, 1642.2, "vllm"
    ),
)
"""Nothing was fitted to these rows. DeepSeek-R1's on racks are 72 GPUs as nine replicas. Red Hat's ran vLLM; its
defaults stand for limits not told."""

MEDIAN_ERROR: Final = 0.10
"""Median size of the errors of `PUBLISHED_ROWS`, written down because to compute them takes seconds."""
LOWEST_ERROR, HIGHEST_ERROR = -0.15, 0.28
"""The furthest of them below and above what was published."""
