"""Reads a cluster file as this machine means it, without Ray: importing that takes seconds."""

from pathlib import Path

from cluster.spec import cluster_file
from cluster.spec.cluster_spec import ClusterSpec
from cluster.spec.model_spec import ModelSpec
from deployments.models.builtins import BUILTIN_MODELS
from deployments.process.read_file import read_text
from deployments.replica.cluster_rules import cluster_rules


def read_spec(file: Path) -> ClusterSpec:
    """Read a cluster file; relative folders in it are relative to the file's own folder.

    Raises:
        SpecError: the file cannot be read, or has mistakes; lists all of them.
    """
    spec = cluster_file.load(read_text(file), str(file), cluster_rules)
    models = tuple(_with_absolute_source(model, file.resolve().parent) for model in spec.models)
    return spec.model_copy(update={"models": models})


def _with_absolute_source(model: ModelSpec, folder: Path) -> ModelSpec:
    source = Path(model.source).expanduser()
    if not model.source or model.source in BUILTIN_MODELS or source.is_absolute() or not (folder / source).is_dir():
        return model.model_copy(update={"source": str(source)}) if model.source.startswith("~") else model
    return model.model_copy(update={"source": str((folder / source).resolve())})
