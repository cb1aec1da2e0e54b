"""LoRA adapters in a plan: slots that every GPU reserves memory for, and what computing with them adds to a step.

A slot is reserved at its full rank for every matrix of the layers, whatever an adapter changes. Each token is
multiplied with its adapter's two matrices beside each of the model's, and a step reads those of the adapters in its
batch. The tables, which few adapters change, count in memory alone. Left out: loads of adapters; that few change every
matrix, which saves time.
"""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from cluster.adapter_room.adapter_values import AdapterValues

VALUE_BYTES: Final = 2
"""Bytes of a value: adapters stay in the model's own precision, BF16, where its weights are quantised."""


class AdapterPlan(BaseModel):
    """LoRA adapters that each replica is to have room for.

    Attributes:
        slots: adapters that a replica has loaded at once, as `adapter_slots` in the cluster file.
        rank: highest rank of any of them, as `adapter_rank`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    slots: Annotated[int, Field(ge=1, le=1024)]
    rank: Annotated[int, Field(ge=1, le=512)] = 16

    def bytes_on_one_gpu(self, values: AdapterValues, tensor: int, expert_share: float, stage_share: float) -> float:
        """Return the bytes that all slots take.

        Args:
            values: of an adapter of rank 1.
            tensor: GPUs of a tensor group.
            expert_share: share of each layer's experts that the GPU has.
            stage_share: share of the layers that its stage has; of several stages none has both tables.
        """
        tables = values.tables if stage_share == 1 else values.tables / 2
        return self.slots * self.rank * VALUE_BYTES * (stage_share * values.on_one_gpu(tensor, expert_share) + tables)

    def work_of_step(  # noqa: PLR0913, PLR0917 - what a step has
        self, values: AdapterValues, tensor: int, expert_share: float, active: float, tokens: float, sequences: float
    ) -> tuple[float, float]:
        """Return the floating-point operations of a step on one GPU, and the bytes that it reads.

        Args:
            values: of an adapter of rank 1.
            tensor: GPUs of a tensor group.
            expert_share: share of each layer's experts that the GPU has.
            active: share of a layer's experts that a token is multiplied with.
            tokens: tokens of the step.
            sequences: sequences that they belong to, each with an adapter of its own at most.
        """
        flops = 2 * tokens * self.rank * values.on_one_gpu(tensor, expert_share, active)
        read = min(float(self.slots), max(1.0, sequences)) * self.rank * VALUE_BYTES
        return flops, read * values.on_one_gpu(tensor, expert_share)
