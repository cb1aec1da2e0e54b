"""Tensor sizes that vLLM 0.32 refuses because a GPU's share of a matrix would cut a quantisation group.

The rules, by method: GPTQ and compressed-tensors, `verify_group_size_divides_partition` and what the kernels can take
(`MarlinLinearKernel.can_implement`); AWQ, `AutoAWQLinearMethod.create_weights`; experts of GPTQ and AWQ,
`MoeWNA16Method`, which halves a group down to 32; experts of compressed-tensors, `CompressedTensorsWNA16MoEMethod`; FP8
in blocks, `validate_fp8_block_shape` and `validate_fp8_block_shape_moe`; NVFP4 and MXFP8, whole groups of inputs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cluster.checkpoint.matrix import Cut, Matrix
from cluster.quantisation.module_names import ModuleKind
from cluster.quantisation.weight_format import WeightFormat

_BLOCK: Final = "scale block"
_GROUP: Final = "quantisation group"


@dataclass(frozen=True, slots=True)
class TensorCut:
    """One rule for the tensor-parallel size.

    Attributes:
        what: the dimension that GPUs divide between them, for messages.
        width: its length.
        unit: what each GPU's share must be a multiple of.
        noun: what a share that is not would cut.
        least: the share is never less than this.
        divided: whether GPUs divide it at all; otherwise each has the whole width, which must be a multiple too.
        from_one: whether a single GPU must obey as well.
        in_expert: whether it binds only where each expert is divided between GPUs.
    """

    what: str
    width: int
    unit: int
    noun: str
    least: int = 1
    divided: bool = True
    from_one: bool = True
    in_expert: bool = False

    def why_not(self, size: int) -> str:
        """Return why `size` GPUs cannot share the matrix; "" if they can."""
        if size == 1 and not self.from_one:
            return ""
        share = max(self.least, self.width // size) if self.divided else self.width
        if share % self.unit == 0:
            return ""
        sum_ = f"{self.width} / {size} = {share}" if self.divided and size > 1 else f"{share}"
        return f"{self.what} {sum_} would cut a {self.noun} of {self.unit}"


def cuts_of(matrix: Matrix, kind: ModuleKind, title: str, weights: WeightFormat) -> Iterator[TensorCut]:
    """Yield the rules that a matrix in format `weights` brings.

    Args:
        matrix: the matrix.
        kind: what it is.
        title: name of its part's inner width, such as "MLP width"; "": it has none, and the matrix is named itself.
        weights: its format.
    """
    in_expert = kind == ModuleKind.EXPERTS
    unit = weights.expert_unit if in_expert else weights.unit
    if unit > 1:
        cut = matrix.cut == Cut.INPUTS
        what = title if cut and title else f"{_last(matrix)} inputs"
        if not weights.cuts_outputs:
            yield TensorCut(what, matrix.inputs, unit, _GROUP, divided=cut, in_expert=in_expert and cut)
        elif cut:
            yield TensorCut(what, matrix.inputs, unit, _BLOCK, from_one=False, in_expert=in_expert)
    if weights.cuts_outputs and matrix.cut == Cut.OUTPUTS:
        what = title or f"{_last(matrix)} outputs"
        width, block = matrix.outputs // matrix.joined, weights.group_outputs
        yield TensorCut(what, width, block, _BLOCK, matrix.least, from_one=in_expert, in_expert=in_expert)


def _last(matrix: Matrix) -> str:
    return matrix.name.rpartition(".")[2]
