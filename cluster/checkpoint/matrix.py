"""One matrix of a layer: its name, its sizes, and the side along which tensor-parallel GPUs share it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Cut(StrEnum):
    """The side along which GPUs of a tensor group divide a matrix between them."""

    INPUTS = "inputs"
    OUTPUTS = "outputs"
    NOT = "not"


@dataclass(frozen=True, slots=True)
class Matrix:
    """One matrix of one layer, or of each of a layer's experts.

    Attributes:
        name: its name inside the layer, such as `self_attn.q_proj`.
        inputs: length of the vectors it is multiplied with.
        outputs: length of the results.
        cut: the side along which a tensor group divides it.
        copies: number of such matrices in the layer: one for each expert.
        least: the cut side is never divided below this; a KV head's values, as a head is copied rather than cut.
        fused: name under which vLLM joins it with others, all of which must have the same format; "": alone.
        joined: equal matrices that the file itself joins along the outputs.
    """

    name: str
    inputs: int
    outputs: int
    cut: Cut = Cut.NOT
    copies: int = 1
    least: int = 1
    fused: str = ""
    joined: int = 1

    @property
    def parameters(self) -> int:
        """Parameters of all copies."""
        return self.inputs * self.outputs * self.copies


def parameters_of(matrices: Iterable[Matrix]) -> int:
    """Return the parameters of all matrices."""
    return sum(matrix.parameters for matrix in matrices)


def gated_mlp(
    prefix: str,
    hidden: int,
    width: int,
    copies: int = 1,
    names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"),
) -> tuple[Matrix, ...]:
    """Return the matrices of a gated MLP of inner length `width`, or of `copies` experts."""
    gate, up, down = (f"{prefix}.{name}" for name in names)
    fused = f"{prefix}.gate_up"
    return (
        Matrix(gate, hidden, width, Cut.OUTPUTS, copies, fused=fused),
        Matrix(up, hidden, width, Cut.OUTPUTS, copies, fused=fused),
        Matrix(down, width, hidden, Cut.INPUTS, copies),
    )
