"""Which form of the request path runs: compiled code that fits the sources, else the sources."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import router
from router import compiled

ROOT = compiled.ROOT
MODULES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["rackserve"]["compiled"]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with one source and a stamp that fits it."""
    monkeypatch.delenv(compiled.SWITCH, raising=False)
    (tmp_path / "router").mkdir()
    source = tmp_path / "router" / "core.py"
    source.write_text("A = 1\n")
    stamp = {"suffix": EXTENSION_SUFFIXES[0], "sources": {"router/core.py": compiled.digest(source)}}
    (tmp_path / compiled.STAMP).write_text(json.dumps(stamp))
    return tmp_path


def test_compiled_code_runs_where_the_stamp_fits_the_sources(tree: Path) -> None:
    """Nothing speaks against it."""
    assert not compiled.why_interpreted(tree)


def test_a_changed_source_runs_itself_and_names_what_to_do(tree: Path) -> None:
    """An edit counts at once, without a compile."""
    (tree / "router" / "core.py").write_text("A = 2\n")
    assert compiled.why_interpreted(tree) == "router/core.py has changed since it was compiled: run `make setup`"


def test_a_source_that_is_gone_has_changed(tree: Path) -> None:
    """So it is with a module that was moved."""
    (tree / "router" / "core.py").unlink()
    assert "router/core.py has changed" in compiled.why_interpreted(tree)


def test_sources_run_without_a_stamp(tree: Path) -> None:
    """So it is where nothing was compiled, or a compile did not come to its end."""
    (tree / compiled.STAMP).unlink()
    assert compiled.why_interpreted(tree) == "nothing is compiled here"


def test_another_pythons_compiled_code_does_not_run(tree: Path) -> None:
    """It would not be found; that is said."""
    stamp = json.loads((tree / compiled.STAMP).read_text())
    (tree / compiled.STAMP).write_text(json.dumps(stamp | {"suffix": ".cpython-399-other.so"}))
    assert "another Python" in compiled.why_interpreted(tree)


def test_the_switch_runs_the_sources(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For comparison, whatever is compiled."""
    monkeypatch.setenv(compiled.SWITCH, "1")
    assert compiled.why_interpreted(tree) == f"{compiled.SWITCH} is set"


def test_with_the_switch_every_module_is_its_source() -> None:
    """No compiled module is found, and the C code is missing without harm."""
    names = [module.removesuffix(".py").replace("/", ".") for module in MODULES]
    program = (
        "import importlib, router\n"
        f"found = [importlib.import_module(name).__file__ for name in {names!r}]\n"
        "assert all(file.endswith('.py') for file in found), found\n"
        "from router.prompt.outline import IS_COMPILED\n"
        "assert not IS_COMPILED\n"
        "print(router.FORM)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {compiled.SWITCH: "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"interpreted ({compiled.SWITCH} is set)"


@pytest.mark.parametrize("module", MODULES)
def test_the_form_that_runs_is_the_one_that_is_told(module: str) -> None:
    """Each module of the list exists, and comes from where `router.FORM` says."""
    assert (ROOT / module).exists()
    spec = importlib.util.find_spec(module.removesuffix(".py").replace("/", "."))
    assert spec is not None
    assert spec.origin is not None
    assert spec.origin.endswith(".py") == (router.FORM != "compiled")


def _reused_names(function: ast.AST) -> list[str]:
    """Return the names that a function gives to exceptions of several kinds."""
    kinds: dict[str, set[str]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.ExceptHandler) and node.name and node.type is not None:
            kinds.setdefault(node.name, set()).add(ast.unparse(node.type))
    return [name for name, types in kinds.items() if len(types) > 1]


@pytest.mark.parametrize("module", MODULES)
def test_each_kind_of_exception_has_a_name_of_its_own(module: str) -> None:
    """The compiler gives a variable its first type: a second kind of exception under its name is a TypeError."""
    functions = [
        node
        for node in ast.walk(ast.parse((ROOT / module).read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert {node.name: names for node in functions if (names := _reused_names(node))} == {}


@pytest.mark.parametrize("module", MODULES)
def test_constants_are_final(module: str) -> None:
    """The compiler puts a `Final` constant where it is used; any other is looked up by its name at each use."""
    kinds = ("TypeVar(", "type[", "Callable[", "tuple[", "NDArray[", " | ")  # of types: no request looks these up
    looked_up = [
        ast.unparse(node)
        for node in ast.parse((ROOT / module).read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id != "__all__"
    ]
    assert not [line for line in looked_up if not any(kind in line for kind in kinds)]


@pytest.mark.parametrize("module", MODULES)
def test_what_is_decoded_is_not_compiled(module: str) -> None:
    """No object of a compiled class can be made by msgspec, so its structs stand in modules that are not compiled."""
    classes = [node for node in ast.walk(ast.parse((ROOT / module).read_text())) if isinstance(node, ast.ClassDef)]
    assert not [node.name for node in classes if "Struct" in " ".join(ast.unparse(base) for base in node.bases)]
