"""Resolves a cluster file's `source` to what an engine loads: a folder on this machine or a Hugging Face id."""

import difflib
import os
import re
from collections.abc import Callable
from pathlib import Path

from cluster.errors import ModelSourceError
from deployments.models.build import build
from deployments.models.builtins import BUILTIN_MODELS

HF_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")

Report = Callable[[str], None]


def _silent(_line: str) -> None:
    pass


def cache_folder() -> Path:
    """Return the folder for built models and launch files: `$RACKSERVE_CACHE`, or `~/.cache/rackserve`."""
    return Path(os.environ.get("RACKSERVE_CACHE") or "~/.cache/rackserve").expanduser()


def model_folder(name: str) -> Path:
    """Return the folder of the built-in model `name`, built or not."""
    return cache_folder() / "models" / name


def is_present(name: str) -> bool:
    """Return whether the built-in model `name` is built: its folder appears whole, by a rename."""
    return (model_folder(name) / "config.json").is_file()


def fetch(name: str, report: Report = _silent) -> Path:
    """Return the folder of the built-in model `name`; build it first if it isn't there.

    Args:
        name: a key of `BUILTIN_MODELS`.
        report: called with one line for each step; not called when the model is present.

    Raises:
        ModelSourceError: unknown name, no network, no disk space, missing extras, or not the pinned weights.
    """
    model = BUILTIN_MODELS.get(name)
    if model is None:
        raise ModelSourceError(f"no built-in model is named {name!r}; there is {_listed()}")
    if not is_present(name):
        build(model, model_folder(name), report)
    return model_folder(name)


def resolve(source: str, report: Report = _silent) -> str:
    """Return what an engine loads for `source`: a folder's absolute path, or a Hugging Face id unchanged.

    A built-in name comes first; the model is built if it is not there yet. Then a folder. Anything else in the form of
    a Hugging Face id counts as one, and the engine downloads it (`HF_TOKEN` and `HF_HOME` apply).

    Args:
        source: a built-in name, a folder or a Hugging Face id.
        report: called with one line for each step of a build.

    Raises:
        ModelSourceError: `source` is none of the three, or a built-in model could not be built.
    """
    if source in BUILTIN_MODELS:
        return str(fetch(source, report))
    folder = Path(source).expanduser()
    if source and folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelSourceError(
                f"source {source!r}: the folder has no config.json, so it is not a Hugging Face model"
            )
        return str(folder.resolve())
    if not source or source.startswith(("/", "./", "../", "~")) or not HF_ID.fullmatch(source):
        raise ModelSourceError(
            f"source {source!r}: no such folder, and neither a Hugging Face id (`owner/name`) nor a built-in name "
            f"({_listed()})"
        )
    close = difflib.get_close_matches(source.lower(), BUILTIN_MODELS, n=1, cutoff=0.75)
    if "/" not in source and close:
        raise ModelSourceError(f"source {source!r}: no such built-in model; did you mean {close[0]!r}?")
    return source


def _listed() -> str:
    return ", ".join(BUILTIN_MODELS)
