"""The two forms of our code: compiled with mypyc, in the tree itself, and interpreted, from a copy without `.so`."""

import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import Final

import router

_PACKAGES: Final = ("cluster", "router", "deployments")
_BENCHMARK: Final = "tests/benchmarks/gateway"


class CodeForm(StrEnum):
    """What runs."""

    COMPILED = "compiled"
    INTERPRETED = "interpreted"


def why_not_compiled() -> str:
    """Return why the tree's code does not run compiled, in words; "" if it does."""
    form: str = getattr(router, "FORM", "this tree has nothing that compiles it")
    return "" if form == CodeForm.COMPILED else form


def copy_without_extensions(root: Path, into: Path) -> Path:
    """Copy the code that a gateway runs, from the tree at `root` and without compiled modules; return `into`."""
    for part in (*_PACKAGES, _BENCHMARK):
        ignored = shutil.ignore_patterns("*.so", "compiled.json", "__pycache__")
        shutil.copytree(root / part, into / part, ignore=ignored)
    (into / "tests/__init__.py").write_bytes((root / "tests/__init__.py").read_bytes())
    return into


def running_form() -> CodeForm:
    """Return the form that this process runs: compiled if any module of ours that it has imported is."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in _PACKAGES and str(getattr(module, "__file__", "")).endswith(".so"):
            return CodeForm.COMPILED
    return CodeForm.INTERPRETED
