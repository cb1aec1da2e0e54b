"""The number format in which this machine's CPU runs a model fast: all engines of a benchmark use it."""

from pathlib import Path
from typing import Final

import psutil

_HAS_BFLOAT16: Final = frozenset({"amx_bf16", "avx512_bf16", "bf16"})
"""Names of instructions for bfloat16 in the kernel's list, of x86 and of Arm."""


def engine_dtype() -> str:
    """Return `bfloat16` where the CPU has instructions for it, else `float32`, which is then many times as fast."""
    if not psutil.LINUX:
        return "float32"
    words = set(Path("/proc/cpuinfo").read_text().split())
    return "bfloat16" if words & _HAS_BFLOAT16 else "float32"
