"""What LoRA adapters add to a model: for each matrix one from its inputs to the rank and one from there to the outputs.

vLLM 0.32 reserves both for every matrix of the layers and for the tables, for each slot, whatever an adapter changes.
Where a tensor group divides a matrix's outputs, each GPU has all of the first and its part of the second; where it
divides the inputs, it is the other way round.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cluster.checkpoint.matrix import Cut, Matrix


@dataclass(frozen=True, slots=True)
class AdapterValues:
    """Values of an adapter of rank 1.

    Attributes:
        whole: that every GPU of a tensor group has.
        divided: that a tensor group divides.
        of_experts: of all routed experts, which GPUs divide as they do the experts.
        tables: of the embedding and the head, all of which the GPU has that has the table.
    """

    whole: int = 0
    divided: int = 0
    of_experts: int = 0
    tables: int = 0

    def __add__(self, other: "AdapterValues") -> "AdapterValues":
        """Return the values of both together."""
        return AdapterValues(
            self.whole + other.whole,
            self.divided + other.divided,
            self.of_experts + other.of_experts,
            self.tables + other.tables,
        )

    def on_one_gpu(self, tensor: int, expert_share: float, active: float = 1.0) -> float:
        """Return the values of the layers on one GPU that has part of all of them.

        Args:
            tensor: GPUs of a tensor group.
            expert_share: share of the experts that the GPU has.
            active: share of these that count.
        """
        return self.whole + self.divided / tensor + self.of_experts * expert_share * active


NO_VALUES: Final = AdapterValues()
"""Of a model of which they are not known."""


def adapter_values(matrices: Iterable[Matrix], *, are_experts: bool = False) -> AdapterValues:
    """Return the values that an adapter of rank 1 adds to matrices, of which some may be those of routed experts."""
    whole = divided = of_experts = 0
    for matrix in matrices:
        inputs, outputs = matrix.inputs * matrix.copies, matrix.outputs * matrix.copies
        if are_experts:
            of_experts += inputs + outputs
        elif matrix.cut is Cut.OUTPUTS:
            whole, divided = whole + inputs, divided + outputs
        elif matrix.cut is Cut.INPUTS:
            whole, divided = whole + outputs, divided + inputs
        else:
            whole += inputs + outputs
    return AdapterValues(whole, divided, of_experts)
