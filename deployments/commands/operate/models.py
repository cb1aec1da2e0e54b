"""`rackserve models`: lists and builds the built-in models."""

from collections.abc import Sequence

from rich.console import Console

from deployments.model_cache.cached_source import named_source
from deployments.model_cache.here import warm_here
from deployments.models.builtins import BUILTIN_MODELS
from deployments.models.source import fetch, is_present, model_folder


def list_models(console: Console) -> None:
    """Print the built-in models and whether they are on this machine."""
    for model in BUILTIN_MODELS.values():
        here = f"in {model_folder(model.name)}" if is_present(model.name) else "not on this machine yet"
        console.print(f"{model.name}  ({model.folder_bytes / 1e6:.0f} MB, {model.license}; {here})", soft_wrap=True)
        console.print(f"  {model.summary}", soft_wrap=True)


def warm_models(sources: Sequence[str], console: Console) -> int:
    """Have models in this machine's cache, as engines will look for them; print each step.

    Args:
        sources: each a Hugging Face id or a built-in name, with `@REVISION` behind it or not.
        console: where the steps go.

    Returns:
        The number of those that cannot be had.
    """
    failed = 0
    last: dict[str, int] = {}
    for state in warm_here([named_source(source) for source in sources]):
        tenth = int(10 * state.done_bytes / state.total_bytes) if state.total_bytes else 0
        if state.problem:
            failed += 1
            _say(console, f"{state.name}: {state.problem}")
        elif state.ready_s is not None:
            _say(console, f"{state.name}: there after {state.ready_s:.1f} s")
        elif tenth != last.get(state.name, 0):
            _say(console, f"{state.name}: {state.done_bytes / 1e9:.1f} of {state.total_bytes / 1e9:.1f} GB")
        last[state.name] = tenth
    return failed


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def fetch_model(name: str, console: Console, *, quiet: bool) -> None:
    """Build the built-in model `name`, unless it is there.

    Raises:
        ModelSourceError: the name is unknown, or the build failed.
    """
    folder = fetch(name, (lambda _line: None) if quiet else console.print)
    if not quiet:
        console.print(f"{name} is in {folder}", markup=False)
