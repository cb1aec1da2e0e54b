"""Reads a cluster file as this machine means it, without Ray: importing that takes seconds."""

from pathlib import Path

from cluster.spec import cluster_file
from cluster.spec.cluster_spec import ClusterSpec
from deployments.models.builtins import BUILTIN_MODELS
from deployments.process.read_file import read_text
from deployments.replica.cluster_rules import cluster_rules


def read_spec(file: Path) -> ClusterSpec:
    """Read a cluster file; relative folders in it are relative to the file's own folder.

    Raises:
        SpecError: the file cannot be read, or has mistakes; lists all of them.
    """
    spec = cluster_file.load(read_text(file), str(file), cluster_rules)
    folder = file.resolve().parent
    models = tuple(
        model.model_copy(
            update={
                "source": absolute_source(model.source, folder),
                "adapters": tuple(
                    adapter.model_copy(update={"source": absolute_source(adapter.source, folder)})
                    for adapter in model.adapters
                ),
            }
        )
        for model in spec.models
    )
    return spec.model_copy(update={"models": models})


def absolute_source(source: str, folder: Path) -> str:
    """Return a source with an absolute path, if it is a folder; one that is relative is looked for in `folder`."""
    path = Path(source).expanduser()
    if not source or source in BUILTIN_MODELS or path.is_absolute() or not (folder / path).is_dir():
        return str(path) if source.startswith("~") else source
    return str((folder / path).resolve())
