"""Estimates time and capacity of one replica: a roofline over its operations, plus communication.

Each operation takes the longer of its arithmetic and its memory traffic, at the share of the peaks that good kernels
reach; operations follow one another. A step of a continuously batching engine decodes one token for every running
sequence and prefills some prompt tokens in the same pass (chunked prefill), so weights are read once for both.

Data-parallel ranks that share experts run in lockstep: they meet at every expert layer. So a step takes as long as the
rank with the most prompt tokens needs: the mean of the largest of `data` Poisson draws.

One number is fitted, to one published result: see `EXPERT_SHARE`.

With speculative decoding a step computes several tokens of each sequence (`cluster.planning.speculation`).

Left out: how unevenly experts are chosen and how experts may be copied against it; overlap of communication with
arithmetic; in-network reduction; the engine's own work on the host; sampling; clocks lowered by heat or power;
softmax's exponentials; re-computing keys and values of cached latents in prefill; preemption when caches run full;
quantised attention arithmetic (always BF16); expert groups that leave their domain.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

from cluster.planning.communication import all_reduce_s, expert_exchange_s, stage_hop_s
from cluster.planning.hardware import Accelerator
from cluster.planning.layout import Layout
from cluster.planning.memory import (
    USABLE_SHARE,
    MemoryUse,
    expert_share_of_one_gpu,
    kv_bytes_on_one_gpu,
    memory_use,
)
from cluster.planning.model_shape import ModelShape, WeightGroup
from cluster.planning.precision import BF16, Precision
from cluster.planning.queueing import mean_of_largest, queue_wait_s
from cluster.planning.speculation import DraftPlan

MATRIX_SHARE: Final = 0.6
"""Share of peak arithmetic that matrix products reach; DeepGEMM publishes 0.5 to 0.78 of an H800's FP8 peak."""

MEMORY_SHARE: Final = 0.8
"""Share of peak memory bandwidth that is reached (`mem_bw_empirical_scaling_factor` of NVIDIA's aiconfigurator)."""

LAYER_LATENCY_S: Final = 24e-6
"""Seconds of fixed latency of each layer: eight kernels of 3 µs (aiconfigurator's `mem_empirical_constant_latency`)."""

EXPERT_SHARE: Final = 0.5343
"""Share of the estimated speed that served models with experts reach: the one fitted number.

It makes the GB200 offline row of DeepSeek-R1 in MLPerf Inference v5.1 come out exactly;
`cluster.planning.published.calibrated_expert_share` computes it again. It stands mainly for what the model leaves out
of expert layers. Models without experts do not use it, since that row says nothing about them.
"""


@dataclass(frozen=True, slots=True)
class Work:
    """Mean size of requests.

    Attributes:
        input_tokens: tokens of a prompt.
        output_tokens: tokens of an answer.
        prefix_hit: share of the prompt found in the prefix cache, 0 to 1.
        output_spread: standard deviation of the answers' lengths divided by their mean. Long answers run longer, so at
            any time they are over-represented among the running ones.
        input_spread: the same of the prompts' parts that are not cached. It counts where limits are to hold for a share
            of the requests: a long prompt delays those behind it, and the answers beside it.
    """

    input_tokens: float
    output_tokens: float
    prefix_hit: float = 0.0
    output_spread: float = 0.0
    input_spread: float = 0.0

    @property
    def new_tokens(self) -> float:
        """Prompt tokens to prefill; at least one, even where the whole prompt is cached."""
        return max(1.0, self.input_tokens * (1 - self.prefix_hit))

    @property
    def mean_context(self) -> float:
        """Mean context of the running sequences, tokens; long answers weigh more (the inspection paradox)."""
        return self.input_tokens + self.output_tokens * (1 + self.output_spread**2) / 2

    @property
    def mean_prefill_context(self) -> float:
        """Mean number of tokens that a new prompt token attends to."""
        return self.input_tokens - self.new_tokens / 2


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds of one pass through all layers, by what they are spent on.

    Attributes:
        projections: attention's matrices.
        attention: attention itself, over the KV cache.
        mlp: MLPs of the dense layers.
        experts: routed and shared experts and the router.
        head: output head.
        all_reduce: all-reduces within the tensor group.
        exchange: sending tokens to experts and results back.
        latency: fixed latency of the layers.
        drafting: drafting the tokens that it verifies.
    """

    projections: float
    attention: float
    mlp: float
    experts: float
    head: float
    all_reduce: float
    exchange: float
    latency: float
    drafting: float = 0.0

    @property
    def total(self) -> float:
        """Seconds of the whole pass."""
        return (
            self.projections
            + self.attention
            + self.mlp
            + self.experts
            + self.head
            + self.all_reduce
            + self.exchange
            + self.latency
            + self.drafting
        )


@dataclass(frozen=True, slots=True)
class Steady:
    """A replica in steady state, with `batch` sequences always running on each data-parallel rank.

    Attributes:
        batch: running sequences of each data-parallel rank.
        tpot_s: seconds between a sequence's tokens, time spent on others' prompts included: the mean, or what a share
            of the sequences does not exceed.
        ttft_s: seconds from a request's arrival to its first token: the mean, or what a share does not exceed.
        output_tokens_per_s: output tokens a second of the whole replica.
        requests_per_s: requests a second of the whole replica.
        prefill_share: share of the time spent on prompts, 0 to 1.
        step: where the time of a step goes.
    """

    batch: int
    tpot_s: float
    ttft_s: float
    output_tokens_per_s: float
    requests_per_s: float
    prefill_share: float
    step: StepTime


@dataclass(frozen=True, slots=True)
class ReplicaCost:
    """Cost of one replica of a model in time and memory.

    Attributes:
        shape: the model, in the precision it is served in.
        hardware: kind of GPU.
        layout: layout of the replica.
        kv_precision: number format of the KV cache.
        step_tokens: tokens of the largest step (vLLM's `max_num_batched_tokens`).
        usable_share: share of a GPU's memory that may be used.
        expert_share: see `EXPERT_SHARE`.
        draft: what drafts tokens that each step verifies; None: nothing does.
    """

    shape: ModelShape
    hardware: Accelerator
    layout: Layout
    kv_precision: Precision = BF16
    step_tokens: int = 8192
    usable_share: float = USABLE_SHARE
    expert_share: float = EXPERT_SHARE
    draft: DraftPlan | None = None

    @property
    def memory(self) -> MemoryUse:
        """Memory use of the fullest GPU, bytes."""
        own = memory_use(self.shape, self.hardware, self.layout, self.step_tokens, usable_share=self.usable_share)
        return self.draft.beside(own, self.layout) if self.draft else own

    @property
    def verified(self) -> int:
        """Tokens that a step computes of each sequence that is decoded: one, and those of its draft."""
        return 1 + (self.draft.tokens if self.draft else 0)

    @property
    def per_step(self) -> float:
        """Mean tokens that a sequence gets from a step."""
        return self.draft.per_step if self.draft else 1.0

    def sequences(self, context: float) -> int:
        """Return the number of sequences of `context` tokens that the KV cache of each data-parallel rank holds."""
        each = kv_bytes_on_one_gpu(self.shape, self.layout, context, self.kv_precision)
        each += self.draft.kv_bytes(self.layout, context, self.kv_precision) if self.draft else 0.0
        return max(0, int(self.memory.kv_cache // each))

    def step(self, decode: float, prefill: float, work: Work, most_prefill: float | None = None) -> StepTime:
        """Return the time of one pass through all layers.

        Args:
            decode: sequences that get a token, on each data-parallel rank.
            prefill: mean number of prompt tokens prefilled on each rank.
            work: size of requests, which gives the context that these tokens attend to.
            most_prefill: prompt tokens of the rank that has the most; None: `prefill`.
        """
        return self.step_at(decode, prefill, work.mean_context, work.mean_prefill_context, most_prefill)

    def step_at(
        self,
        decode: float,
        prefill: float,
        context: float,
        prefill_context: float,
        most_prefill: float | None = None,
    ) -> StepTime:
        """Return the time of one pass through all layers, for contexts that are known.

        Args:
            decode: sequences that get a token, on each data-parallel rank.
            prefill: mean number of prompt tokens prefilled on each rank.
            context: mean number of tokens that a decoded token attends to.
            prefill_context: mean number of tokens that a prompt token attends to.
            most_prefill: prompt tokens of the rank that has the most; None: `prefill`.
        """
        shape, layout, attention, experts = self.shape, self.layout, self.shape.attention, self.shape.experts
        most = prefill if most_prefill is None else most_prefill
        decoded = decode * self.verified
        tokens, tensor, hidden = decoded + most, layout.tensor, shape.hidden
        link = self.hardware.link_bytes_per_s
        projections = self._matrices(
            WeightGroup.ATTENTION, shape.attention_parameters * shape.attention_share(tensor), tokens
        )
        looked_at = decode * shape.attended(context)
        kv_bytes = looked_at * attention.kv_values_on_one_gpu(tensor) * self.kv_precision.bytes
        # States of linear attention are read and written; every GPU has all of an indexer.
        kv_bytes += decode * (shape.index_bytes_per_token * context + 2 * shape.state_bytes / tensor)
        decode_flops = looked_at * attention.decode_flops / tensor + decode * shape.index_flops(context)
        prefill_flops = shape.attended(prefill_context) * attention.prefill_flops / tensor
        core = self._roofline(self.verified * decode_flops, kv_bytes, BF16)
        core += self._roofline(most * (prefill_flops + shape.index_flops(prefill_context)), 0.0, BF16)
        mlp = shape.dense_layers * self._matrices(WeightGroup.MLP, shape.mlp_parameters / tensor, tokens)
        expert_s = exchange = 0.0
        if experts:
            in_gang = layout.data * (decoded + prefill)
            share = expert_share_of_one_gpu(shape, layout)
            each = self._roofline(
                2 * experts.parameters * experts.active * in_gang / layout.stage_gpus,
                experts.touched(in_gang) * share * experts.parameters * shape.precision(WeightGroup.EXPERTS).bytes,
                shape.precision(WeightGroup.EXPERTS),
            )
            each += self._matrices(WeightGroup.SHARED_EXPERTS, experts.shared_parameters / tensor, tokens)
            each += self._matrices(WeightGroup.ROUTER, experts.router_parameters, tokens)
            expert_s = shape.expert_layers * each
            if layout.data > 1:
                exchange = shape.expert_layers * expert_exchange_s(
                    tokens / tensor, hidden, experts.active, layout.expert, link
                )
        reduce = 2 * shape.layers * all_reduce_s(tokens * hidden * BF16.bytes, tensor, link)
        share = self.expert_share if experts else 1.0
        return StepTime(
            projections=projections / share,
            attention=core / share,
            mlp=mlp / share,
            experts=expert_s / share,
            head=self._matrices(WeightGroup.HEAD, shape.vocab * hidden / tensor, decoded + 1) / share,
            all_reduce=reduce / share,
            exchange=exchange / share,
            latency=shape.layers * LAYER_LATENCY_S,
            drafting=self._drafting_s(decode, most, context, prefill_context),
        )

    def steady(self, batch: int, work: Work, share: float | None = None) -> Steady:
        """Return the steady state with `batch` sequences on each data-parallel rank.

        Args:
            batch: these sequences, 1 or more.
            work: size of requests.
            share: share of the requests whose TPOT and TTFT are asked for, each by itself; None: the means.

        Raises:
            ValueError: `batch` is below 1.
        """
        if batch < 1:
            raise ValueError(f"a batch has at least one sequence; got {batch}")
        layout = self.layout
        decode = max(1.0, batch / layout.pipeline)
        prefill = self.per_step * batch / work.output_tokens * work.new_tokens / layout.pipeline
        most = self._most_prefill(prefill, work)
        mixed, plain = self.step(decode, prefill, work, most), self.step(decode, 0.0, work)
        tokens = decode * self.verified + most
        plain_s = self.through_stages_s(plain.total, tokens)
        mean_s = shown_s = self.through_stages_s(mixed.total, tokens)
        prefill_share = busy = 1 - plain_s / mean_s
        if share is not None:
            mean_s, shown_s, busy = self._unevenly(batch, decode, prefill, plain.total, work, share)
            mean_s, shown_s = self.through_stages_s(mean_s, tokens), self.through_stages_s(shown_s, tokens)
            prefill_share = 1 - plain_s / mean_s
        per_s = self.per_step * batch * layout.data / mean_s
        return Steady(
            batch=batch,
            tpot_s=shown_s / self.per_step,
            ttft_s=self._ttft_s(decode, mean_s, busy, work, share),
            output_tokens_per_s=per_s,
            requests_per_s=per_s / work.output_tokens,
            prefill_share=prefill_share,
            step=mixed,
        )

    def through_stages_s(self, step_s: float, tokens: float) -> float:
        """Return the seconds of a step as the slowest stage makes it, the hops between stages included.

        Args:
            step_s: its seconds if stages were equal and hops took no time.
            tokens: tokens of each rank.
        """
        stages = self.layout.pipeline
        if stages == 1:
            return step_s
        return step_s * self.shape.stage_layers(stages) * stages / self.shape.layers + stages * self._hop_s(tokens)

    def _unevenly(  # noqa: PLR0913, PLR0917 - what `steady` knows
        self, batch: int, decode: float, prefill: float, plain_s: float, work: Work, share: float
    ) -> tuple[float, float, float]:
        """Return the mean seconds of a step, those of the slowest answer that `share` allows, and the load.

        Prompts do not come evenly: some steps have a whole chunk of one, the others none. During one answer as many
        prompts come as run beside it, on average, and that number is Poisson distributed; long ones have more chunks.
        The load is the share of a rank's steps that have a chunk; from 1 on it falls behind.
        """
        chunk = min(work.new_tokens, max(1.0, self.step_tokens - decode * self.verified))
        ranks, busy = self.layout.data, prefill / chunk
        often = 1 - (1 - min(1.0, busy)) ** ranks
        loaded_s = self.step(decode, min(chunk, prefill / often), work, chunk).total
        longer_s = often * (loaded_s - plain_s)
        above = NormalDist().inv_cdf(share) * math.sqrt((1 + work.input_spread**2) / (batch * ranks))
        return plain_s + longer_s, min(loaded_s, plain_s + longer_s * (1 + above)), busy

    def _ttft_s(self, decode: float, tpot_s: float, busy: float, work: Work, share: float | None) -> float:
        """Return the seconds to the first token: the mean, or what `share` of the requests do not exceed.

        A request waits for the running step, then for the prompts before it (an M/D/1 queue, or for a share an M/G/1
        queue), and is then prefilled in chunks.
        """
        pipeline = self.layout.pipeline
        chunks = math.ceil(work.new_tokens / self.step_tokens)
        chunk_s = self.step(decode, work.new_tokens / chunks, work).total
        own_s = chunk_s * (chunks - 1 + pipeline) / pipeline
        in_line_s = queue_wait_s(own_s, busy, work.input_spread, share)
        return tpot_s / pipeline / 2 + in_line_s + own_s

    def _most_prefill(self, prefill: float, work: Work) -> float:
        """Return the mean number of prompt tokens, in one step, of the rank that has the most."""
        if self.layout.data == 1:
            return prefill
        piece = min(work.new_tokens, float(self.step_tokens))
        return max(prefill, piece * mean_of_largest(prefill / piece, self.layout.data))

    def _hop_s(self, tokens: float) -> float:
        within = self.layout.gpus <= self.hardware.gpus_per_domain
        speed = self.hardware.link_bytes_per_s if within else self.hardware.network_bytes_per_s
        return stage_hop_s(tokens * self.shape.hidden * BF16.bytes / self.layout.tensor, speed, within_domain=within)

    def _drafting_s(self, decode: float, prefill: float, context: float, prefill_context: float) -> float:
        """Return the seconds in which a draft model or head drafts for the decoded sequences and reads the prompts."""
        if self.draft is None or self.draft.shape is None:
            return 0.0
        layout = self.draft.layout(self.layout)
        own = ReplicaCost(self.draft.shape, self.hardware, layout, self.kv_precision, expert_share=self.expert_share)
        first_s = own.step_at(decode, prefill, context, prefill_context).total
        again = self.draft.tokens - 1 if decode else 0
        return first_s + again * (own.step_at(decode, 0.0, context, 0.0).total if again else 0.0)

    def _matrices(self, part: WeightGroup, parameters: float, tokens: float) -> float:
        """Return the seconds to multiply `tokens` tokens with matrices of `parameters` values together."""
        precision = self.shape.precision(part)
        return self._roofline(2 * parameters * tokens, parameters * precision.bytes, precision)

    def _roofline(self, flops: float, memory_bytes: float, precision: Precision) -> float:
        arithmetic_s = flops / (self.hardware.rate(precision) * MATRIX_SHARE)
        return max(arithmetic_s, memory_bytes / (self.hardware.memory_bytes_per_s * MEMORY_SHARE))
