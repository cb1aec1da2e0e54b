"""Resolve a cluster file's `source` to what an engine loads: a folder on this machine or a Hugging Face id."""

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
    """Return where built models are kept: `$RACKSERVE_CACHE`, or `~/.cache/rackserve`."""
    return Path(os.environ.get("RACKSERVE_CACHE") or "~/.cache/rackserve").expanduser()


def model_folder(name: str) -> Path:
    """Return the folder the built-in model `name` lives in once it is built."""
    return cache_folder() / "models" / name


def is_present(name: str) -> bool:
    """Tell whether the built-in model `name` is built. A folder appears whole (by rename), so its presence is proof."""
    return (model_folder(name) / "config.json").is_file()


def fetch(name: str, report: Report = _silent) -> Path:
    """Return the folder of the built-in model `name`, building it first if it isn't there.

    Args:
        name: a key of `BUILTIN_MODELS`.
        report: told in a line what is being done; never called when the model is present.

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
    """Return what an engine loads for `source`: a folder's absolute path, or a Hugging Face id as it is.

    A built-in name wins over anything else and is built when it is not there yet; then comes a folder; whatever else
    has the form of a Hugging Face id is taken for one, and the engine fetches it (`HF_TOKEN`, `HF_HOME` apply).

    Raises:
        ModelSourceError: it is none of the three, or a built-in model could not be built.
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
