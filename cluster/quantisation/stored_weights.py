"""Adds up a checkpoint's matrices, part by part: bytes, formats, and the tensor sizes that they rule out."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cluster.checkpoint.matrix import Matrix
from cluster.quantisation.module_names import Module, ModuleKind
from cluster.quantisation.scheme import WeightScheme
from cluster.quantisation.tensor_cut import TensorCut, cuts_of
from cluster.quantisation.weight_format import WeightFormat

PLAIN: Final = WeightFormat("bf16", 16, group_outputs=0, scale_bits=0)
"""What is left unquantised."""


@dataclass(frozen=True, slots=True)
class StoredPart:
    """How one part of a model is stored.

    Attributes:
        weights: format of most of its parameters.
        bits: mean bits of a parameter, scales, zero points and matrices that are left unquantised included.
    """

    weights: WeightFormat
    bits: float


class StoredWeights:
    """The matrices of a checkpoint, as they are stored.

    Args:
        scheme: the format of each; None: nothing is quantised.
        prefixes: what may stand before a layer's name.
    """

    def __init__(self, scheme: WeightScheme | None, prefixes: tuple[str, ...]) -> None:
        self._scheme = scheme
        self._prefixes = prefixes
        self._bytes: defaultdict[tuple[str, WeightFormat], float] = defaultdict(float)
        self._parameters: defaultdict[tuple[str, WeightFormat], int] = defaultdict(int)
        self._cuts: dict[TensorCut, None] = {}
        self._mixed: list[str] = []

    def add_layer(
        self, layer: int, part: str, matrices: Iterable[Matrix], kind: ModuleKind = ModuleKind.LINEAR, title: str = ""
    ) -> None:
        """Add the matrices of one part of a layer.

        Args:
            layer: number of the layer, from 0.
            part: the part of the model.
            matrices: the matrices.
            kind: what they are.
            title: name of the part's inner width, for messages; "": it has none.
        """
        fused: dict[str, set[WeightFormat]] = {}
        for matrix in matrices:
            names = tuple(f"{prefix}layers.{layer}.{matrix.name}" for prefix in self._prefixes)
            weights = self._add(part, matrix, Module(names, kind), title)
            if matrix.fused:
                fused.setdefault(matrix.fused, set()).add(weights)
        self._mixed += [
            f"{self._prefixes[0]}layers.{layer}.{name}" for name, formats in fused.items() if len(formats) > 1
        ]

    def add_head(self, part: str, matrix: Matrix) -> None:
        """Add the output head, which no GPU's share may cut."""
        self._add(part, matrix, Module((matrix.name, f"language_model.{matrix.name}"), ModuleKind.HEAD), "")

    def add_plain(self, part: str, parameters: int) -> None:
        """Add parameters that are never quantised."""
        self._count(part, PLAIN, parameters, parameters * PLAIN.bits / 8)

    def _add(self, part: str, matrix: Matrix, module: Module, title: str) -> WeightFormat:
        weights = (self._scheme.format_of(module) if self._scheme else None) or PLAIN
        self._count(part, weights, matrix.parameters, matrix.copies * weights.bytes(matrix.inputs, matrix.outputs))
        self._cuts.update(dict.fromkeys(cuts_of(matrix, module.kind, title, weights)))
        return weights

    def _count(self, part: str, weights: WeightFormat, parameters: int, size: float) -> None:
        self._parameters[part, weights] += parameters
        self._bytes[part, weights] += size

    @property
    def parts(self) -> dict[str, StoredPart]:
        """How each part is stored that has something quantised in it."""
        found: dict[str, StoredPart] = {}
        for part in {part for part, weights in self._parameters if weights != PLAIN}:
            counts = {weights: count for (each, weights), count in self._parameters.items() if each == part}
            size = sum(size for (each, _), size in self._bytes.items() if each == part)
            found[part] = StoredPart(max(counts, key=lambda each: counts[each]), size * 8 / sum(counts.values()))
        return found

    @property
    def cuts(self) -> tuple[TensorCut, ...]:
        """Rules for the tensor-parallel size, each once."""
        return tuple(self._cuts)

    @property
    def formats(self) -> tuple[tuple[str, float], ...]:
        """Each format of what was added, with its grouping, and its bytes; the largest first."""
        sizes: defaultdict[str, float] = defaultdict(float)
        for (_, weights), size in self._bytes.items():
            sizes[weights.title if weights != PLAIN else weights.name] += size
        return tuple(sorted(sizes.items(), key=lambda each: -each[1]))

    @property
    def mixed(self) -> tuple[str, ...]:
        """Names of modules that vLLM joins from matrices of different formats, which it refuses to do."""
        return tuple(self._mixed)
