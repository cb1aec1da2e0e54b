"""Speculative decoding in a plan: the tokens of a step, and what drafts take in memory and time.

If a drafted token is right with probability `a` where those before it were, a step that verifies `k` of them gives each
sequence `(1 - a^(k+1)) / (1 - a)` tokens on average (Leviathan, Kalman and Matias, "Fast Inference from Transformers
via Speculative Decoding", 2023, equation 1). The step computes `k + 1` tokens of each sequence in place of one: its
weights and KV cache are read once all the same, so it takes little longer while memory bounds it, and nearly `k + 1`
times as long where arithmetic does (`cost_model.ReplicaCost.step_at`).

A draft model runs `k` times before each step, on the GPUs of the model's tensor group, and has weights and a KV cache
of its own. Heads (`eagle`, `eagle3`) and a model's own layers for it (`mtp`) count as one layer of the model, beside
the model's own tables. What looks drafts up in texts (`ngram`, `suffix`) takes neither memory nor time. Left out: that
acceptance differs between sequences; drafts that were not found; sampling; the host.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cluster.model_shapes.model_shape import ModelShape, WeightGroup
from cluster.model_shapes.precision import Precision
from cluster.replica_cost.layout import Layout
from cluster.replica_cost.memory import MemoryUse, kv_bytes_on_one_gpu, weights_on_one_gpu

_ONE_LAYER: Final = frozenset({"eagle", "eagle3", "mtp"})


class SpeculativePlan(BaseModel):
    """Speculative decoding that a plan may use, and how often drafts are expected to be right.

    Attributes:
        method: where drafts come from, as in the cluster file.
        tokens: tokens of a draft.
        acceptance: probability that a drafted token is right where those before it were, 0 to 1; the gateway's metrics
            tell what it is of a model that serves.
        model: with `draft_model`, the small model: a known name, or the path of a `config.json` or of its folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["ngram", "draft_model", "eagle", "eagle3", "mtp", "suffix"]
    tokens: Annotated[int, Field(ge=1, le=64)]
    acceptance: Annotated[float, Field(ge=0, le=1)]
    model: str = ""

    @model_validator(mode="after")
    def _a_draft_model_has_a_name(self) -> Self:
        if self.method == "draft_model" and not self.model:
            raise ValueError("model is missing: a name that `rackserve plan` knows, or the path of a config.json")
        return self


def tokens_per_step(acceptance: float, drafted: int) -> float:
    """Return the mean tokens that a sequence gets from a step.

    Args:
        acceptance: probability that a drafted token is right where those before it were, 0 to 1.
        drafted: tokens of a draft.
    """
    return sum(acceptance**place for place in range(drafted + 1))


@dataclass(frozen=True, slots=True)
class DraftPlan:
    """What drafts for a replica.

    Attributes:
        method: where drafts come from.
        tokens: tokens of a draft.
        per_step: mean tokens that a sequence gets from a step.
        shape: the model or layer that drafts; None: drafts are looked up.
        has_tables: it has an embedding and a head of its own.
        lacks: why the model cannot be drafted for so, whatever its layout; "": it can.
    """

    method: str
    tokens: int
    per_step: float
    shape: ModelShape | None = None
    has_tables: bool = False
    lacks: str = ""

    def layout(self, layout: Layout) -> Layout:
        """Return the layout in which it runs on a replica's GPUs: one stage of the model's own tensor size."""
        return Layout(layout.tensor) if self.shape and self.has_tables else replace(layout, pipeline=1)

    def why_not(self, layout: Layout) -> str:
        """Return why it cannot draft for a replica; "": it can. vLLM 0.32 divides a draft model as the model itself."""
        if self.lacks:
            return self.lacks
        reason = self.shape.why_not_tensor(layout.tensor) if self.shape and self.has_tables else ""
        return (
            f"vLLM would divide the draft model over {layout.tensor} GPUs as the model, and {reason}" if reason else ""
        )

    def beside(self, memory: MemoryUse, layout: Layout) -> MemoryUse:
        """Return the memory use of the fullest GPU with what drafts on it too.

        Args:
            memory: its memory use without.
            layout: the replica's layout.
        """
        if self.shape is None:
            return memory
        own = self.layout(layout)
        weights = weights_on_one_gpu(self.shape, own)
        if not self.has_tables:
            size = self.shape.bytes_by_part
            weights -= (size[WeightGroup.EMBEDDING] + size[WeightGroup.HEAD]) / own.tensor
        return replace(memory, weights=memory.weights + weights, kv_cache=memory.kv_cache - weights)

    def kv_bytes(self, layout: Layout, context: float, precision: Precision) -> float:
        """Return the bytes of its own KV cache for a sequence of `context` tokens on each GPU that has some."""
        if self.shape is None:
            return 0.0
        return kv_bytes_on_one_gpu(self.shape, self.layout(layout), context, precision)


def draft_plan(asked: SpeculativePlan, shape: ModelShape, draft: ModelShape | None) -> DraftPlan:
    """Return what drafts for a model.

    Args:
        asked: the plan file's `speculative`.
        shape: the model.
        draft: the draft model; None: the method has none.
    """
    per_step = tokens_per_step(asked.acceptance, asked.tokens)
    if asked.method in _ONE_LAYER:
        lacks = _why_not_mtp(shape, asked.tokens) if asked.method == "mtp" else ""
        return DraftPlan(asked.method, asked.tokens, per_step, _one_layer_of(shape), lacks=lacks)
    return DraftPlan(asked.method, asked.tokens, per_step, draft, has_tables=draft is not None)


def _why_not_mtp(shape: ModelShape, tokens: int) -> str:
    """Return why a model's own layers cannot make drafts of `tokens`, as vLLM 0.32 says; "": they can."""
    layers = shape.mtp_layers
    if not layers:
        return f"{shape.name} has no layers for it (its config has no num_nextn_predict_layers above 0)"
    if tokens > layers and tokens % layers:
        return f"vLLM wants a draft's tokens to be a multiple of the model's {layers} layers for it: {tokens} is not"
    return ""


def _one_layer_of(shape: ModelShape) -> ModelShape:
    return replace(
        shape,
        layers=1,
        dense_layers=0 if shape.experts else 1,
        windows=((None, 1),),
        attention=replace(shape.attention, index=None),
        small_parameters=shape.small_parameters // shape.layers,
        linear=None,
        vision_parameters=0,
    )


@dataclass(frozen=True, slots=True)
class SpeculationTrade:
    """One layout with and without speculation.

    Attributes:
        draft: what drafts.
        batch: sequences of each rank at which the two steps are compared.
        step_s: seconds of a step that verifies drafts, what they take to draft included.
        plain_step_s: seconds of a step without, at the same batch.
        tokens_per_s: output tokens a second of each GPU within the SLO; 0: the SLO is not kept.
        plain_tokens_per_s: the same without.
        why_not: why it cannot speculate, and all figures are without; "": it can.
    """

    draft: DraftPlan
    batch: int
    step_s: float
    plain_step_s: float
    tokens_per_s: float
    plain_tokens_per_s: float
    why_not: str = ""

    @property
    def speedup(self) -> float:
        """How many times as fast a sequence's tokens come, at the same batch."""
        return 1.0 if self.why_not else self.draft.per_step * self.plain_step_s / self.step_s

    @property
    def why(self) -> str:
        """Why the plan speculates, or does not."""
        if self.why_not:
            return f"does not speculate by {self.draft.method}: {self.why_not}"
        longer = self.step_s / self.plain_step_s
        trade = (
            f"{self.draft.per_step:.2f} tokens a step, and a step {longer:.2f} times as long: {self.speedup:.2f} times "
            f"the speed at {self.batch} sequences a rank"
        )
        rates = f"{self.tokens_per_s:,.0f} tokens/s per GPU within the SLO, {self.plain_tokens_per_s:,.0f} without"
        if not self.plain_tokens_per_s:
            return f"speculates by {self.draft.method}: {trade}; without it this layout does not keep the SLO"
        if self.tokens_per_s > self.plain_tokens_per_s:
            return f"speculates by {self.draft.method}: {trade}; {rates}"
        kept = rates if self.tokens_per_s else "with it this layout does not keep the SLO"
        return f"does not speculate by {self.draft.method}: {trade}; {kept}"
