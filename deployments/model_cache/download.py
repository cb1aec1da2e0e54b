"""Downloads one model into this machine's cache, as vLLM will look for it there; run as a process of its own.

The Hugging Face client reads its environment when it is imported, and a model may have variables of its own.
"""

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cluster.errors import ModelSourceError, RackServeError
from deployments.model_cache.cached_source import CachedSource, from_data
from deployments.models.builtins import BUILTIN_MODELS
from deployments.models.hub import hub_problem
from deployments.models.source import fetch

FILES_AT_ONCE: Final = 8
"""Files of one model that are downloaded at the same time: the client's default."""
LOOK_S: Final = 1.0
"""Seconds between two looks at how much is there."""
SPARE_BYTES: Final = 1 << 30
"""Bytes of a disk that are left free: a full disk ends more than a download."""
OTHER_FORMATS: Final = (".gguf", ".onnx", ".msgpack", ".h5", ".ot", ".tflite", ".mlmodel")
"""Weights in forms that vLLM does not load from such a folder."""
PICKLED: Final = (".bin", ".pt", ".pth")
"""Weights that vLLM loads only where there are none in safetensors."""

Report = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes that are wanted."""


def download(wanted: CachedSource, env: dict[str, str], report: Report) -> None:
    """Have a model in this machine's cache: at once if it is there, or once another process has downloaded it.

    Args:
        wanted: the model.
        env: this process's environment, with the model's own variables.
        report: told how far it is.

    Raises:
        ModelSourceError: it cannot be had, or the disk has no room for it; what would help.
    """
    if wanted.source in BUILTIN_MODELS:
        fetch(wanted.source)
        return
    if problem := hub_problem(wanted.source, env, revision=wanted.revision, folder=wanted.folder):
        raise ModelSourceError(problem)
    from filelock import FileLock  # noqa: PLC0415 - this and the client: only where something is downloaded
    from huggingface_hub import constants  # noqa: PLC0415

    cache = Path(wanted.folder or constants.HF_HUB_CACHE).expanduser()
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".rackserve-{wanted.source.replace('/', '--')}.lock"):
        _snapshot(wanted, cache, env.get("HF_ENDPOINT"), report)


def needed(files: Sequence[str]) -> list[str]:
    """Return those of a repository's files that vLLM reads: one form of the weights, and all that is small."""
    usual = [
        name for name in files if not name.startswith(("original/", "metal/")) and not name.endswith(OTHER_FORMATS)
    ]
    if not any(name.endswith(".safetensors") for name in usual):
        return usual
    plain = [name for name in usual if not name.endswith(PICKLED)]
    merged = [name for name in plain if Path(name).name.startswith("consolidated")]  # Mistral's own form of the same
    has_others = any(name.endswith(".safetensors") and name not in merged for name in plain)
    return [name for name in plain if name not in merged] if has_others else plain


def _snapshot(wanted: CachedSource, cache: Path, hub: str | None, report: Report) -> None:
    from huggingface_hub import snapshot_download  # noqa: PLC0415

    revision = wanted.revision or None
    folder = cache / f"models--{wanted.source.replace('/', '--')}"
    try:
        listed = snapshot_download(wanted.source, revision=revision, cache_dir=cache, endpoint=hub, dry_run=True)
        names = needed([file.filename for file in listed])
        missing = [file for file in listed if file.filename in names and file.will_download]
        total = sum(file.file_size or 0 for file in missing)
        _check_room(wanted, cache, total)
        with _Watch(folder / "blobs", total, report):
            snapshot_download(
                wanted.source,
                revision=revision,
                cache_dir=cache,
                endpoint=hub,
                allow_patterns=names,
                max_workers=FILES_AT_ONCE,
            )
    except OSError as error:  # all of the client's own, and the disk's
        if not _is_whole(folder):
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ModelSourceError(f"{wanted.name} cannot be downloaded to {cache}: {reason}") from error


def _is_whole(folder: Path) -> bool:
    """Return whether a model's folder in the cache has weights and nothing half downloaded, as without the hub."""
    weights = [file for ending in ("safetensors", "bin") for file in folder.glob(f"snapshots/*/*.{ending}")]
    return bool(weights) and not any(folder.glob("blobs/*.incomplete"))


def _check_room(wanted: CachedSource, cache: Path, total: int) -> None:
    free = shutil.disk_usage(cache).free
    if total and free < total + SPARE_BYTES:
        raise ModelSourceError(
            f"{wanted.name} takes another {total / 1e9:.1f} GB in {cache}, and its disk has {free / 1e9:.1f} GB free; "
            "make room, or name another disk by HF_HOME"
        )


class _Watch:
    """Reports the bytes that arrive in a folder for the length of a `with` block."""

    def __init__(self, blobs: Path, total: int, report: Report) -> None:
        self._blobs, self._total, self._report = blobs, total, report
        self._before = _bytes_in(blobs)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="download watch", daemon=True)

    def __enter__(self) -> None:
        self._report(0, self._total)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(LOOK_S):
            self._report(min(self._total, max(0, _bytes_in(self._blobs) - self._before)), self._total)


def _bytes_in(folder: Path) -> int:
    found = 0
    for file in folder.glob("*"):
        try:
            found += file.stat().st_blocks * 512  # what is on the disk: files may be given their full size at once
        except OSError:
            continue  # renamed meanwhile
    return found


def main() -> None:
    """Download what the first argument says, as JSON; print a JSON line for each step and for what went wrong."""
    import os  # noqa: PLC0415

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    began_s = time.monotonic()

    def report(done: int, total: int) -> None:
        print(json.dumps({"done_bytes": done, "total_bytes": total}), flush=True)  # noqa: T201 - the parent's

    try:
        download(from_data(json.loads(sys.argv[1])), dict(os.environ), report)
    except RackServeError as error:
        print(json.dumps({"problem": str(error)}), flush=True)  # noqa: T201
        sys.exit(1)
    print(json.dumps({"ready_s": round(time.monotonic() - began_s, 1)}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
