"""Programs that the machine lacks, unpacked from Debian's packages into a folder; nothing is installed."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path


def unpack(folder: Path, packages: Sequence[str]) -> str:
    """Unpack packages into a folder, which is made whole or not at all; return in words why not, "" if it is."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return "there is no apt-get to fetch it with"
    parts = folder.with_name(f"{folder.name}-{os.getpid()}")
    parts.mkdir(parents=True, exist_ok=True)
    try:
        fetched = _run("apt-get", "download", *packages, cwd=parts)
        if fetched.returncode:
            _run("apt-get", "update", cwd=parts)
            fetched = _run("apt-get", "download", *packages, cwd=parts)
        if fetched.returncode:
            return f"apt-get does not fetch it: {fetched.stderr.strip()[-200:]}"
        for package in parts.glob("*.deb"):
            if _run("dpkg-deb", "-x", str(package), str(parts / "root"), cwd=parts).returncode:
                return f"{package.name} cannot be unpacked"
        shutil.rmtree(folder, ignore_errors=True)
        (parts / "root").rename(folder)
    finally:
        shutil.rmtree(parts, ignore_errors=True)
    return ""


def libraries(folder: Path) -> str:
    """Return the `LD_LIBRARY_PATH` of programs that were unpacked into a folder."""
    return ":".join(str(each) for each in sorted((folder / "usr" / "lib").glob("*-linux-gnu*")))


def _run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
