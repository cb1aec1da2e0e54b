"""Compiles the hot path of `router`: modules by mypyc, and the C code. All else is in pyproject.toml.

    python setup.py build_ext --inplace     beside the sources: what `make setup` runs
    pip wheel .                             a wheel that has the compiled form

Where it cannot be compiled, the sources run: nothing else changes. Without `RACKSERVE_INTERPRETED` in the environment,
`pip install` compiles too.
"""

import json
import os
import re
import sys
import tomllib
from importlib.machinery import EXTENSION_SUFFIXES
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # a build front end does not put it there
os.chdir(ROOT)

from router.compiled import STAMP, SWITCH, digest  # noqa: E402 - found by the path just set

MODULES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["rackserve"]["compiled"]
C_CODE = [
    Extension(name.replace("/", "."), [f"{name}.c"], extra_compile_args=["-O3"])
    for name in ("router/prefix_cache/claim_ops", "router/prompt/chunk_cut", "router/prompt/prompt_scan")
]


def sources() -> dict[str, str]:
    """Return the digest of each file that the compiled form is made of, by path.

    These are the compiled modules, and the modules that they import: constants are copied from those.
    """
    files = {*MODULES, *(source for extension in C_CODE for source in extension.sources)}
    for module in MODULES:
        for imported in re.findall(
            r"^ *from ((?:router|cluster)[\w.]*) import", Path(module).read_text(), re.MULTILINE
        ):
            files.add(f"{imported.replace('.', '/')}.py")
    return {path: digest(ROOT / path) for path in sorted(files)}


def extensions() -> list[Extension]:
    """Return what is to be compiled; nothing for commands that only ask for metadata."""
    if os.environ.get(SWITCH) or not {"build_ext", "bdist_wheel", "editable_wheel"} & set(sys.argv):
        return []
    from mypyc.build import mypycify  # noqa: PLC0415 - only who compiles needs it

    return [
        *mypycify(MODULES, group_name="router.hot_path", opt_level="1", debug_level="0", multi_file=True),
        *C_CODE,
    ]


class CompileHotPath(build_ext):
    """Compiles, and writes the stamp that `router/compiled.py` reads once everything is there."""

    def build_extension(self, ext: Extension) -> None:
        """Compile those files of an extension that are newer than what came of them, on all cores at once."""
        one_by_one = self.compiler.compile

        def compile_files(sources: list[str], **options: Any) -> list[str]:  # noqa: ANN401 - the compiler's own
            headers = [str(path) for path in Path("build").rglob("*.h")]
            objects = self.compiler.object_filenames(sources, output_dir=options["output_dir"])
            due = [s for s, made in zip(sources, objects, strict=True) if newer_group([s, *headers], made)]
            with ThreadPool(os.cpu_count()) as pool:
                pool.map(lambda source: one_by_one([source], **options), due)
            return objects

        self.compiler.compile = compile_files
        try:
            super().build_extension(ext)
        finally:
            self.compiler.compile = one_by_one

    def run(self) -> None:
        """Compile what can be compiled."""
        stamp = ROOT / STAMP if self.inplace else Path(self.build_lib) / STAMP
        stamp.unlink(missing_ok=True)
        if self.inplace:
            for old in (ROOT / "router").rglob("*.so"):  # also of modules that are gone
                old.unlink()
        super().run()
        if all(Path(self.get_ext_fullpath(extension.name)).exists() for extension in self.extensions):
            stamp.write_text(json.dumps({"suffix": EXTENSION_SUFFIXES[0], "sources": MADE_OF}, indent=1) + "\n")


MADE_OF = sources()  # before mypy reads them: a change meanwhile is one
found = extensions()
for extension in found:
    extension.optional = True
    # mypyc puts the group's own headers there, and does not look for them.
    extension.include_dirs.append("build/router")
setup(ext_modules=found, cmdclass={"build_ext": CompileHotPath})
