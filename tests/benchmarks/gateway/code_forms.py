"""The two forms of our code: compiled with mypyc, in the tree itself, and interpreted, from a copy without `.so`."""

import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import Final

_PACKAGES: Final = ("cluster", "router", "deployments")
_BENCHMARK: Final = "tests/benchmarks/gateway"


class CodeForm(StrEnum):
    """What runs."""

    COMPILED = "compiled"
    INTERPRETED = "interpreted"


def why_not_compiled(root: Path) -> str:
    """Return why there is no compiled form of the tree's code as it is now; "" if there is."""
    extensions = [path for package in _PACKAGES for path in (root / package).rglob("*.so")]
    if not extensions:
        return "there are no compiled modules (*.so) in the tree: `make setup` makes them where there is a C compiler"
    sources = [path.with_name(path.name.split(".")[0] + ".py") for path in extensions]
    newest = max((path for path in sources if path.exists()), key=lambda path: path.stat().st_mtime)
    if newest.stat().st_mtime > max(path.stat().st_mtime for path in extensions):
        return f"{newest.relative_to(root)} has changed since it was compiled: `make setup` compiles it again"
    return ""


def copy_without_extensions(root: Path, into: Path) -> Path:
    """Copy the code that a gateway runs, from the tree at `root` and without compiled modules; return `into`."""
    for part in (*_PACKAGES, _BENCHMARK):
        ignored = shutil.ignore_patterns("*.so", "__pycache__", "results", "examples")
        shutil.copytree(root / part, into / part, ignore=ignored)
    (into / "tests/__init__.py").write_bytes((root / "tests/__init__.py").read_bytes())
    return into


def running_form() -> CodeForm:
    """Return the form that this process runs: compiled if any module of ours that it has imported is."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in _PACKAGES and str(getattr(module, "__file__", "")).endswith(".so"):
            return CodeForm.COMPILED
    return CodeForm.INTERPRETED
