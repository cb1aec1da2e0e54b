"""sshd, ssh and rsync: the machine's own, or unpacked from Debian's packages into a folder, nothing installed."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[3] / ".cache" / "ssh-programs"
PACKAGES = ("openssh-server", "openssh-client", "rsync", "libwrap0", "libpopt0")
"""With the two libraries that minimal systems lack."""
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class SshPrograms:
    """Where the programs are.

    Attributes:
        sshd: its path, which must be absolute.
        env: `PATH`, and `LD_LIBRARY_PATH` where they are ours, for all that runs them.
    """

    sshd: str
    env: Mapping[str, str]


def find_programs() -> SshPrograms | str:
    """Return the programs, or in words why there are none."""
    path = f"{_SYSTEM_PATH}:{os.environ.get('PATH', '')}"
    if all(shutil.which(name, path=path) for name in ("sshd", "ssh", "ssh-keygen", "rsync")):
        return SshPrograms(str(shutil.which("sshd", path=path)), {"PATH": path})
    if not (FOLDER / "usr" / "bin" / "rsync").exists() and (why_not := _unpack()):
        return why_not
    usr = FOLDER / "usr"
    libraries = ":".join(str(folder) for folder in sorted((usr / "lib").glob("*-linux-gnu*")))
    env = {"PATH": f"{usr}/sbin:{usr}/bin:{path}", "LD_LIBRARY_PATH": libraries}
    return SshPrograms(str(usr / "sbin" / "sshd"), env)


def _unpack() -> str:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return "sshd or rsync is missing, and there is no apt-get to fetch it with"
    parts = FOLDER.with_name(f"{FOLDER.name}-{os.getpid()}")
    parts.mkdir(parents=True, exist_ok=True)
    try:
        fetched = _run("apt-get", "download", *PACKAGES, cwd=parts)
        if fetched.returncode:
            _run("apt-get", "update", cwd=parts)
            fetched = _run("apt-get", "download", *PACKAGES, cwd=parts)
        if fetched.returncode:
            return f"sshd or rsync is missing, and apt-get does not fetch it: {fetched.stderr.strip()[-200:]}"
        for package in parts.glob("*.deb"):
            if _run("dpkg-deb", "-x", str(package), str(parts / "root"), cwd=parts).returncode:
                return f"{package.name} cannot be unpacked"
        shutil.rmtree(FOLDER, ignore_errors=True)
        (parts / "root").rename(FOLDER)
    finally:
        shutil.rmtree(parts, ignore_errors=True)
    return ""


def _run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
