"""Which form of `router` runs: compiled, or interpreted from its sources.

`make setup` and wheels put compiled modules beside their sources, and a stamp that says what they were made of. Python
prefers a compiled module to its source. So before any is imported, `router/__init__.py` calls `choose_form`: where the
stamp does not fit the sources as they are now, Python gets the sources. Old compiled code never runs.
"""

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
"""The folder that `router` and `cluster` are in."""
STAMP = "router/compiled.json"
"""The stamp's place below `ROOT`."""
SWITCH = "RACKSERVE_INTERPRETED"
"""The environment variable that makes the sources run whatever is compiled, to compare; also `setup.py` obeys it."""


def digest(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal; "" where there is no such file."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


def why_interpreted(root: Path = ROOT) -> str:
    """Return why the sources run, in words; "": the compiled form fits them and runs."""
    if os.environ.get(SWITCH):
        return f"{SWITCH} is set"
    try:
        stamp = json.loads((root / STAMP).read_bytes())
    except FileNotFoundError:
        return "nothing is compiled here"
    if stamp["suffix"] != EXTENSION_SUFFIXES[0]:
        return "it was compiled for another Python: run `make setup`"
    changed = [path for path, made_of in stamp["sources"].items() if digest(root / path) != made_of]
    return f"{changed[0]} has changed since it was compiled: run `make setup`" if changed else ""


class _SourcesOnly(MetaPathFinder):
    """Finds the sources of `router`'s modules where Python would find what was compiled of them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is None or not fullname.startswith("router."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or not isinstance(spec.loader, ExtensionFileLoader):
            return spec
        source = Path(spec.loader.path).with_name(fullname.rpartition(".")[2] + ".py")
        if not source.exists():
            raise ModuleNotFoundError(f"{fullname} is compiled of other sources than these", name=fullname)
        return spec_from_file_location(fullname, source)


def choose_form() -> str:
    """Let Python import the sources unless the compiled form fits them; return which form runs, in words."""
    why = why_interpreted()
    if not why:
        return "compiled"
    sys.meta_path.insert(0, _SourcesOnly())
    return f"interpreted ({why})"
