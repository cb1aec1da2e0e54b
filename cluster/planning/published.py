"""Published results that the cost model is checked against and not fitted to, with each submission's layout and limits.

All are MLPerf Inference v5.1, closed division, offline: results from mlcommons/inference_results_v5.1
(`summary_results.json`), layouts and limits from the submissions' own `configs/…/Offline/*.py` there. Lengths are
those of MLPerf's datasets: DeepSeek-R1's 4 388 reasoning prompts with answers cut at 20 000 tokens (mean 3 886.2, as
the reference reports), Llama-3.1-405B's 8 313 and Llama-3.1-8B's 13 368 summaries (128 tokens each).
"""

from dataclasses import dataclass
from typing import Final

from cluster.planning.cost_model import ReplicaCost, Steady, Work
from cluster.planning.hardware import ACCELERATORS
from cluster.planning.known_models import known_model
from cluster.planning.layout import Layout
from cluster.planning.precision import FP8, NVFP4, Precision

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
    def predicted(self) -> Steady:
        """Such a replica with as many sequences as its memory and configuration allow."""
        cost = self.cost
        return cost.steady(min(self.max_batch, cost.sequences(self.work.mean_context)), self.work)

    @property
    def predicted_tokens_per_s_per_gpu(self) -> float:
        """The throughput that the cost model predicts, output tokens a second for each GPU."""
        return self.predicted.output_tokens_per_s / self.layout.gpus

    @property
    def error(self) -> float:
        """Relative error of the prediction: 0.1 is 10 % above the published result."""
        return self.predicted_tokens_per_s_per_gpu / self.tokens_per_s_per_gpu - 1


_ATTENTION_DP8: Final = Layout(tensor=1, pipeline=1, data=8, experts_whole=True)

GB200_ROW: Final = PublishedRow(
    "5.1-0071 NVIDIA", "gb200", "deepseek-r1", NVFP4, _ATTENTION_DP8, REASONING, 512, 4608, 0.9, 4023.8
)
"""GB200 NVL72, 72 GPUs as nine replicas."""

PREDICTED_ROWS: Final = (
    PublishedRow("5.1-0072 NVIDIA", "gb300", "deepseek-r1", NVFP4, _ATTENTION_DP8, REASONING, 1280, 6656, 0.95, 5842.5),
    PublishedRow("5.1-0069 NVIDIA", "b200", "deepseek-r1", NVFP4, _ATTENTION_DP8, REASONING, 512, 4608, 0.9, 4172.4),
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
"""Nothing was fitted to these rows, nor to `GB200_ROW`. Red Hat's ran vLLM; its defaults stand for limits not told."""
