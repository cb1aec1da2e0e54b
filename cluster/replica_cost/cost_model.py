"""Estimates time and capacity of one replica, by the fitted roofline of `cluster.step_time`.

A step of a continuously batching engine decodes one token for every running sequence and prefills some prompt tokens in
the same pass (chunked prefill), so weights are read once for both; it takes longer for all answers beside the prompt.
Data-parallel ranks that share experts run in lockstep: they meet at every expert layer, so a prompt of one delays all.

What a step takes is fitted to measured serving points, by engine (`cluster/foresight/README.md`). With speculative
decoding a step computes several tokens of each sequence (`cluster.replica_cost.speculation`).

Left out: overlap of communication with arithmetic; in-network reduction; clocks lowered by heat or power; preemption
when caches run full; expert groups that leave their domain.
"""

import math
from dataclasses import dataclass, field, replace
from statistics import NormalDist

from cluster.adapter_room.adapter_plan import AdapterPlan
from cluster.model_shapes.model_shape import ModelShape
from cluster.model_shapes.precision import BF16, Precision
from cluster.replica_cost.communication import stage_hop_s
from cluster.replica_cost.hardware import Accelerator
from cluster.replica_cost.layout import Layout
from cluster.replica_cost.memory import (
    USABLE_SHARE,
    MemoryUse,
    expert_share_of_one_gpu,
    kv_bytes_on_one_gpu,
    memory_use,
    with_adapters,
)
from cluster.replica_cost.queueing import queue_wait_s
from cluster.replica_cost.replica_figures import replica_figures
from cluster.replica_cost.speculation import DraftPlan
from cluster.step_time.coefficients import SEPARATE_PROMPTS, Coefficients, coefficients_of
from cluster.step_time.figures import ReplicaSizes, StepLoad
from cluster.step_time.paced import paced_step
from cluster.step_time.step import PassTime


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
        tier_hit: share of the prompt that is found only below the GPU's memory, beside `prefix_hit`.
        fetch_s: seconds that this share takes to be fetched, before the rest of the prompt is computed.
    """

    input_tokens: float
    output_tokens: float
    prefix_hit: float = 0.0
    output_spread: float = 0.0
    input_spread: float = 0.0
    tier_hit: float = 0.0
    fetch_s: float = 0.0

    @property
    def new_tokens(self) -> float:
        """Prompt tokens to prefill; at least one, even where the whole prompt is cached."""
        return max(1.0, self.input_tokens * (1 - self.prefix_hit - self.tier_hit))

    @property
    def mean_context(self) -> float:
        """Mean context of the running sequences, tokens; long answers weigh more (the inspection paradox)."""
        return self.input_tokens + self.output_tokens * (1 + self.output_spread**2) / 2

    @property
    def mean_prefill_context(self) -> float:
        """Mean number of tokens that a new prompt token attends to."""
        return self.input_tokens - self.new_tokens / 2


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
    step: PassTime


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
        engine: the engine that serves, as `cluster.step_time.coefficients` knows it.
        draft: what drafts tokens that each step verifies; None: nothing does.
        adapters: LoRA adapters that it has room for, and that all requests use; None: none.
    """

    shape: ModelShape
    hardware: Accelerator
    layout: Layout
    kv_precision: Precision = BF16
    step_tokens: int = 8192
    usable_share: float = USABLE_SHARE
    engine: str = "vllm"
    draft: DraftPlan | None = None
    adapters: AdapterPlan | None = None
    figures: ReplicaSizes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Add up the sizes once, as steps are computed many times."""
        figures = replica_figures(self.shape, self.hardware, self.layout, self.kv_precision)
        object.__setattr__(self, "figures", figures)

    @property
    def coefficients(self) -> Coefficients:
        """Coefficients of the engine on this GPU."""
        return coefficients_of(self.engine, self.hardware.generation)

    @property
    def memory(self) -> MemoryUse:
        """Memory use of the fullest GPU, bytes."""
        own = memory_use(self.shape, self.hardware, self.layout, self.step_tokens, usable_share=self.usable_share)
        own = with_adapters(own, self.shape, self.layout, self.adapters) if self.adapters else own
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
        return max(0, int(self.memory.kv_cache // self.kv_bytes_of_tokens(context)))

    @property
    def kv_tokens(self) -> float:
        """Tokens that the KV caches of all GPUs hold."""
        return self.layout.data * self.memory.kv_cache / self.kv_bytes_of_tokens(1.0)

    def kv_bytes_of_tokens(self, context: float) -> float:
        """Return the bytes of KV cache of a sequence of `context` tokens on each GPU of its rank, its drafts' too."""
        each = kv_bytes_on_one_gpu(self.shape, self.layout, context, self.kv_precision)
        return each + (self.draft.kv_bytes(self.layout, context, self.kv_precision) if self.draft else 0.0)

    def prefill_tokens_per_s(self, batch: int, work: Work) -> float:
        """Return the prompt tokens that all ranks compute a second while `batch` sequences run on each of them."""
        stages = self.layout.pipeline
        decode = max(1.0, batch / stages) if batch else 0.0  # each stage works on a part of the batch of its own
        tokens = max(1.0, self.step_tokens - decode * self.verified)
        step_s = self.through_stages_s(self.step(decode, tokens, work).total, tokens)
        return self.layout.data * stages * tokens / step_s

    def step(self, decode: float, prefill: float, work: Work, most_prefill: float | None = None) -> PassTime:
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
    ) -> PassTime:
        """Return the time of one pass through all layers, for contexts that are known.

        Args:
            decode: sequences that get a token, on each data-parallel rank.
            prefill: mean number of prompt tokens prefilled on each rank.
            context: mean number of tokens that a decoded token attends to.
            prefill_context: mean number of tokens that a prompt token attends to.
            most_prefill: prompt tokens of the rank that has the most; None: `prefill`.
        """
        load = StepLoad(
            decode=decode,
            prefill=prefill,
            most_prefill=prefill if most_prefill is None else most_prefill,
            attended=self.shape.attended(context),
            prompt_attended=self.shape.attended(prefill_context),
            context=context,
            prompt_context=prefill_context,
            verified=self.verified,
        )
        step = paced_step(self.figures, self.coefficients, load, separate=self.engine in SEPARATE_PROMPTS)
        drafting_s = self._drafting_s(decode, load.most_prefill, context, prefill_context)
        adapters_s = self._adapters_s(decode * self.verified + load.most_prefill, decode)
        return replace(step, drafting=drafting_s, adapters=adapters_s) if drafting_s or adapters_s else step

    def mixed_step(self, decode: float, prefill: float, work: Work) -> PassTime:
        """Return the mean time of a step, of which some have prompt tokens; ranks in lockstep wait for each other's.

        Args:
            decode: sequences that get a token, on each rank.
            prefill: mean prompt tokens of a step, on each rank.
            work: size of requests.
        """
        plain = self.step(decode, 0.0, work)
        if work.new_tokens <= 1:
            return plain  # a prompt that is all there is one more sequence
        chunk = min(self.step_tokens, work.new_tokens + prefill)
        often = min(1.0, prefill / chunk * self.layout.data**self.coefficients.lockstep)
        loaded = self.step(decode, max(chunk, prefill), work)
        return plain.plus(loaded.plus(plain, -1.0), often)

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
        plain, mixed = self.step(decode, 0.0, work), self.mixed_step(decode, prefill, work)
        tokens = decode * self.verified + prefill
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
        if work.new_tokens <= 1:
            return plain_s, plain_s, 0.0  # a prompt that is all there is one more sequence
        chunk = min(work.new_tokens, max(1.0, self.step_tokens - decode * self.verified))
        ranks, busy = self.layout.data, prefill / chunk
        often = 1 - (1 - min(1.0, busy)) ** ranks
        loaded_s = self.step(decode, min(chunk, prefill / often), work, chunk).total
        longer_s = often * (loaded_s - plain_s)
        above = NormalDist().inv_cdf(share) * math.sqrt((1 + work.input_spread**2) / (batch * ranks))
        return plain_s + longer_s, min(loaded_s, plain_s + longer_s * (1 + above)), busy

    def _ttft_s(self, decode: float, tpot_s: float, busy: float, work: Work, share: float | None) -> float:
        """Return the seconds to the first token: the mean, or what `share` of the requests do not exceed.

        A request waits for the engine's front and for the running step, for what is fetched of its prompt, then for the
        prompts before it (an M/D/1 queue, or for a share an M/G/1 queue), and is then prefilled in chunks.
        """
        pipeline = self.layout.pipeline
        chunks = math.ceil(work.new_tokens / self.step_tokens)
        chunk_s = self.step(decode, work.new_tokens / chunks, work).total
        own_s = chunk_s * (chunks - 1 + pipeline) / pipeline
        in_line_s = queue_wait_s(own_s, busy, work.input_spread, share)
        return self.coefficients.first_token_s + tpot_s / pipeline / 2 + work.fetch_s + in_line_s + own_s

    def _hop_s(self, tokens: float) -> float:
        within = self.layout.gpus <= self.hardware.gpus_per_domain
        speed = self.hardware.link_bytes_per_s if within else self.hardware.network_bytes_per_s
        return stage_hop_s(tokens * self.shape.hidden * BF16.bytes / self.layout.tensor, speed, within_domain=within)

    def _drafting_s(self, decode: float, prefill: float, context: float, prefill_context: float) -> float:
        """Return the seconds in which a draft model or head drafts for the decoded sequences and reads the prompts."""
        if self.draft is None or self.draft.shape is None:
            return 0.0
        layout = self.draft.layout(self.layout)
        own = ReplicaCost(self.draft.shape, self.hardware, layout, self.kv_precision, engine=self.engine)
        first = own.step_at(decode, prefill, context, prefill_context)
        again = self.draft.tokens - 1 if decode else 0
        later = own.step_at(decode, 0.0, context, 0.0)
        # The engine's work on the host is that of the step they are drafted for.
        return first.total - first.host + again * (later.total - later.host)

    def _adapters_s(self, tokens: float, sequences: float) -> float:
        """Return the seconds of LoRA adapters: as many launches as the layers have, and the work of their matrices."""
        if self.adapters is None:
            return 0.0
        shape, layout, experts, c = self.shape, self.layout, self.shape.experts, self.coefficients
        held, active = expert_share_of_one_gpu(shape, layout), experts.active / experts.routed if experts else 0.0
        flops, read = self.adapters.work_of_step(shape.adapter, layout.tensor, held, active, tokens, sequences)
        arithmetic_s = flops / (self.hardware.rate(BF16) * c.bf16)
        return shape.layers * c.layer_s + max(arithmetic_s, read / (self.hardware.memory_bytes_per_s * c.weight_memory))
