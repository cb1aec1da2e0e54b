"""Number formats of weights, activations and KV caches, with the memory that they really take.

Bits include the scales: MXFP4 and MXFP8 share an 8-bit scale among 32 values (OCP Microscaling Formats v1.0, table 1),
NVFP4 an FP8 scale among 16 (NVIDIA, "Introducing NVFP4", 2025), 4-bit integers a 16-bit scale and a 4-bit zero among
128 (AWQ and GPTQ with their usual group size). FP8 and INT8 scale per tensor, channel or 128 by 128 block: under 0.1 %.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Rate(StrEnum):
    """Kinds of matrix arithmetic that data sheets give a rate for."""

    BF16 = "bf16"
    FP8 = "fp8"
    FP4 = "fp4"
    INT8 = "int8"


@dataclass(frozen=True, slots=True)
class Precision:
    """One number format.

    Attributes:
        name: name in plan files.
        bits: bits of memory for each value, its share of the scales included.
        rates: kinds of arithmetic to multiply with, best first; the first that the hardware has is used. Formats that
            only compress weights have BF16 alone: their kernels unpack to BF16 first.
    """

    name: str
    bits: float
    rates: tuple[Rate, ...]

    @property
    def bytes(self) -> float:
        """Bytes of memory for each value, its share of the scales included."""
        return self.bits / 8


BF16: Final = Precision("bf16", 16.0, (Rate.BF16,))
FP8: Final = Precision("fp8", 8.0, (Rate.FP8, Rate.BF16))
INT8: Final = Precision("int8", 8.0, (Rate.INT8, Rate.BF16))
NVFP4: Final = Precision("nvfp4", 4.5, (Rate.FP4, Rate.BF16))
MXFP4: Final = Precision("mxfp4", 4.25, (Rate.BF16,))
"""Weights only: gpt-oss keeps its activations in BF16 (its model card), as vLLM runs it by default."""
INT4: Final = Precision("int4", 4.15625, (Rate.BF16,))

PRECISIONS: Final = {precision.name: precision for precision in (BF16, FP8, INT8, NVFP4, MXFP4, INT4)}
"""All number formats, by name."""
