"""How a matrix's values are stored, with the scales and zero points beside them, and which cuts vLLM allows."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Activations(StrEnum):
    """What a matrix is multiplied with, which decides the arithmetic: BF16 means that kernels unpack the weights."""

    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"
    FP4 = "fp4"


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """One way to store a matrix of `outputs` rows and `inputs` columns.

    Attributes:
        name: name of the format, as in `cluster.model_shapes.precision`; those that differ from the one of that name in
            what they are multiplied with end in vLLM's word for it, such as `int8-w8a16`.
        bits: bits of a value, without scales.
        activations: what the matrix is multiplied with.
        group_inputs: inputs of one output that share a scale; 0: all of them.
        group_outputs: outputs that share it; 0: all of them.
        scale_bits: bits of a scale.
        zero_bits: bits of a zero point; 0 where values are symmetric.
        unit: values that a GPU's share of a cut dimension must be a multiple of; 1: any share will do.
        expert_unit: the same inside an expert, where vLLM's kernels may allow more.
        cuts_outputs: whether `unit` binds outputs too; inputs are always bound.
    """

    name: str
    bits: int
    activations: Activations = Activations.BF16
    group_inputs: int = 0
    group_outputs: int = 1
    scale_bits: int = 16
    zero_bits: int = 0
    unit: int = 1
    expert_unit: int = 1
    cuts_outputs: bool = False

    def bytes(self, inputs: int, outputs: int) -> float:
        """Return the bytes of one matrix, its scales and zero points included."""
        groups = -(-inputs // (self.group_inputs or inputs)) * -(-outputs // (self.group_outputs or outputs))
        return (inputs * outputs * self.bits + groups * (self.scale_bits + self.zero_bits)) / 8

    @property
    def title(self) -> str:
        """Name and grouping, such as "int4, a scale for each 128 values"."""
        if not self.group_inputs:
            return f"{self.name}, a scale for each {'matrix' if self.group_outputs == 0 else 'channel'}"
        size = f"{self.group_outputs} x " if self.group_outputs != 1 else ""
        return f"{self.name}, a scale for each {size}{self.group_inputs} values"


GROUP_SIZES: Final = (-1, 32, 64, 128)
"""Group sizes of vLLM 0.32's integer kernels (`MARLIN_SUPPORTED_GROUP_SIZES`); -1: one group for each output."""

_LEAST_EXPERT_GROUP: Final = 32
"""Group size down to which vLLM 0.32's `MoeWNA16Method` halves groups that a GPU's share of an expert would cut."""


def integers(  # noqa: PLR0913 - each is a fact of the format
    bits: int,
    group: int,
    *,
    zero_points: bool,
    activations: Activations = Activations.BF16,
    scale_bits: int = 16,
    experts_may_halve: bool = False,
) -> WeightFormat:
    """Return a format of packed integers with one scale for each `group` inputs of an output.

    Args:
        bits: bits of a value.
        group: inputs that share a scale; -1: all inputs of an output.
        zero_points: whether each group has a zero point, of as many bits as a value.
        activations: what the matrix is multiplied with.
        scale_bits: bits of a scale.
        experts_may_halve: whether vLLM splits the groups of experts where a GPU's share would cut them (GPTQ and AWQ).
    """
    unit = max(1, group)
    halved = unit
    while experts_may_halve and halved % 2 == 0 and halved // 2 >= _LEAST_EXPERT_GROUP:
        halved //= 2
    name = f"int{bits}"
    if activations != Activations.BF16:
        name += f"-w{bits}a{'fp8' if activations == Activations.FP8 else 8}"
    elif bits == INT8.bits:
        name += "-w8a16"
    return WeightFormat(
        name=name,
        bits=bits,
        activations=activations,
        group_inputs=max(0, group),
        scale_bits=scale_bits,
        zero_bits=bits if zero_points else 0,
        unit=unit,
        expert_unit=halved,
    )


def fp8(
    *,
    block: tuple[int, int] | None = None,
    channels: bool = False,
    activations: Activations = Activations.FP8,
    scale_bits: int = 32,
) -> WeightFormat:
    """Return FP8 with a scale for each block of (outputs, inputs), for each output, or for the whole matrix."""
    name = "fp8" if activations == Activations.FP8 else "fp8-w8a16"
    if block:
        return WeightFormat(
            name, 8, activations, block[1], block[0], scale_bits, unit=block[1], expert_unit=block[1], cuts_outputs=True
        )
    return WeightFormat(name, 8, activations, 0, 1 if channels else 0, scale_bits)


INT8: Final = WeightFormat("int8", 8, Activations.INT8, scale_bits=32)
"""INT8 weights and activations, a scale for each output."""

INT8_OF_TENSOR: Final = WeightFormat("int8", 8, Activations.INT8, group_outputs=0, scale_bits=32)
"""The same with one scale for the matrix."""

NVFP4: Final = WeightFormat("nvfp4", 4, Activations.FP4, 16, scale_bits=8, unit=16, expert_unit=16)
"""FP8 scales for 16 values each; the FP32 scale of the matrix is too small to count."""

NVFP4_WEIGHTS: Final = WeightFormat("nvfp4-w4a16", 4, Activations.BF16, 16, scale_bits=8, unit=16, expert_unit=16)
"""The same, multiplied with BF16 activations."""

MXFP4: Final = WeightFormat("mxfp4", 4, Activations.BF16, 32, scale_bits=8, unit=32)
"""Experts are padded to whole groups (`mxfp4_round_up_hidden_size_and_intermediate_size`), so any share will do."""

MXFP8: Final = WeightFormat("mxfp8", 8, Activations.FP8, 32, scale_bits=8, unit=32, expert_unit=32)
