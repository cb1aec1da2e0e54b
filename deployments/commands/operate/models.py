"""`rackserve models`: lists and builds the built-in models."""

from rich.console import Console

from deployments.models.builtins import BUILTIN_MODELS
from deployments.models.source import fetch, is_present, model_folder


def list_models(console: Console) -> None:
    """Print the built-in models and whether they are on this machine."""
    for model in BUILTIN_MODELS.values():
        here = f"in {model_folder(model.name)}" if is_present(model.name) else "not on this machine yet"
        console.print(f"{model.name}  ({model.folder_bytes / 1e6:.0f} MB, {model.license}; {here})", soft_wrap=True)
        console.print(f"  {model.summary}", soft_wrap=True)


def fetch_model(name: str, console: Console, *, quiet: bool) -> None:
    """Build the built-in model `name`, unless it is there.

    Raises:
        ModelSourceError: the name is unknown, or the build failed.
    """
    folder = fetch(name, (lambda _line: None) if quiet else console.print)
    if not quiet:
        console.print(f"{name} is in {folder}", markup=False)
