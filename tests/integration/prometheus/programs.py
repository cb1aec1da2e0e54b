"""Where the real Prometheus is: on the path, or under .cache where `.setup/prometheus` puts it."""

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CHART = ROOT / "helm" / "rackserve"


def program(name: str) -> str:
    """Return the path of `prometheus` or `promtool`; without it, the test is skipped."""
    unpacked = ROOT / ".cache" / "prometheus" / "usr" / "bin" / name
    found = shutil.which(name) or (str(unpacked) if unpacked.exists() else None)
    if found is None:
        pytest.skip(f"no {name}: run .setup/prometheus (Debian's package), or put {name} on the path")
    return found
