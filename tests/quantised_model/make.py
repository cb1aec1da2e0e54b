"""Makes the small real model's INT8 form with LLM Compressor: `python -m tests.quantised_model.make`.

LLM Compressor wants other versions of `compressed-tensors` and `transformers` than the engine does, so it has an
environment of its own, which sees ours for what is large (torch).
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Final

from filelock import FileLock

from deployments.models.source import fetch

MODEL: Final = "smollm2-135m-instruct"
CACHE: Final = Path(__file__).resolve().parents[2] / ".cache"
CHECKPOINT: Final = CACHE / "quantised" / f"{MODEL}-w8a8"
"""Where the checkpoint is, if it was made."""
REQUIREMENTS: Final = (
    "auto-round==0.15.1",
    "compressed-tensors==0.19.0",
    "datasets==5.2.0",
    "huggingface_hub==1.33.0",
    "llmcompressor==0.14.0.1",
    "multiprocess==0.70.19",
    "nvidia-ml-py==13.615.71",
    "pandas==3.1.1",
    "pyarrow==26.0.1",
    "transformers==5.17.0",
)
"""All that LLM Compressor needs beyond our environment, or in another version: nothing else is installed."""


def make() -> Path:
    """Make the checkpoint if it is not there; return its folder.

    Raises:
        ModelSourceError: the model itself is not to be had.
        subprocess.CalledProcessError: an installation or the quantiser failed, and has printed why.
    """
    CHECKPOINT.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{CHECKPOINT}.lock"):
        if not CHECKPOINT.is_dir():
            python = _environment()
            made = Path(tempfile.mkdtemp(dir=CHECKPOINT.parent))
            program = Path(__file__).with_name("quantise.py")
            # PYTHONPATH would put our environment's packages, or this folder, before its own.
            offline = {**os.environ, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"}
            subprocess.run([python, program, fetch(MODEL), made], check=True, env=offline)
            made.chmod(0o755)
            made.rename(CHECKPOINT)
    return CHECKPOINT


def _environment() -> Path:
    """Return the Python of the quantiser's environment, made first if it is not as `REQUIREMENTS` wants it."""
    environment = CACHE / "quantiser"
    python, stamp = environment / "bin" / "python", environment / "requirements.txt"
    wanted = "\n".join(REQUIREMENTS) + "\n"
    if not stamp.is_file() or stamp.read_text() != wanted:
        shutil.rmtree(environment, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        inside = environment / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
        (inside / "rackserve_environment.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
        pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, *REQUIREMENTS], check=True)
        stamp.write_text(wanted)
    return python


if __name__ == "__main__":
    print(make(), flush=True)
