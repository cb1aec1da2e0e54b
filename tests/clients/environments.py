"""The clients' programs, each kind in an environment of its own under `.cache/clients`.

`python -m tests.clients.environments` makes all of them; a test makes the one it needs. A lock file pins what an
environment holds, so a client's release changes nothing until the lock does.
"""

import hashlib
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

from filelock import FileLock

FOLDER: Final = Path(__file__).parent
CACHE: Final = FOLDER.parents[1] / ".cache" / "clients"
LOCKS: Final = {name: FOLDER / "locks" / f"{name}.txt" for name in ("python", "aiperf", "guidellm")}
"""The Python environments: the SDKs, and two load generators whose dependencies agree with nobody else's."""
SEES_OURS: Final = frozenset({"guidellm"})
"""Environments that see our own packages too: torch alone is larger than all the rest."""
NODE: Final = FOLDER / "node"
DEBIAN: Final = {"nginx": ("nginx",), "ab": ("apache2-utils", "libapr1", "libaprutil1")}
"""Programs of Debian's, unpacked, not installed, and the packages that they take."""
INSTALL_S: Final = 600.0


class ClientMissingError(Exception):
    """An environment cannot be made here; the message says why."""


def python_of(name: str) -> Path:
    """Return the Python of an environment, made first if it is not as its lock wants it.

    Raises:
        ClientMissingError: it cannot be made.
    """
    lock, environment = LOCKS[name], CACHE / name
    python = environment / "bin" / "python"
    with _making(environment, lock.read_bytes()) as is_made:
        if not is_made:
            _run(sys.executable, "-m", "venv", "--clear", "--without-pip", environment)
            if name in SEES_OURS:
                inside = Path("lib") / f"python3.{sys.version_info.minor}" / "site-packages"
                (environment / inside / "ours.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
            _run(sys.executable, "-m", "uv", "pip", "install", "--no-deps", "--python", python, "-r", lock)
    return python


def node_folder() -> Path:
    """Return the folder of Node.js programs with their packages beside them.

    Raises:
        ClientMissingError: there is no Node.js, or the packages cannot be fetched.
    """
    if shutil.which("npm") is None:
        raise ClientMissingError("Node.js and npm are not installed")
    folder = CACHE / "node"
    programs = sorted(NODE.iterdir())
    with _making(folder, b"".join(file.read_bytes() for file in programs)) as is_made:
        if not is_made:
            folder.mkdir(parents=True, exist_ok=True)
            for file in programs:
                shutil.copy(file, folder)
            _run("npm", "ci", "--no-audit", "--no-fund", cwd=folder)
    return folder


def debian_folder(name: str) -> Path:
    """Return the folder in which a program of Debian's is unpacked, as if it were `/`.

    Raises:
        ClientMissingError: the packages cannot be fetched.
    """
    if shutil.which("apt-get") is None:
        raise ClientMissingError(f"no apt-get is here to fetch {name}")
    folder = CACHE / name
    with _making(folder, " ".join(DEBIAN[name]).encode()) as is_made:
        if not is_made:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            _run("apt-get", "download", "--quiet", *DEBIAN[name], cwd=folder)
            for package in folder.glob("*.deb"):
                _run("dpkg-deb", "--extract", package, folder)
    return folder


class _making:  # noqa: N801 - used as a function, like contextlib's own
    """Tells whether an environment is made as wanted; at the end it is, for whoever waited for the lock."""

    def __init__(self, environment: Path, wanted: bytes) -> None:
        CACHE.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(f"{environment}.lock")
        self._stamp = environment / ".made"
        self._digest = hashlib.sha256(wanted).hexdigest()

    def __enter__(self) -> bool:
        self._lock.acquire()
        return self._stamp.exists() and self._stamp.read_text() == self._digest

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._stamp.write_text(self._digest)
        self._lock.release()


def _run(*command: str | Path, cwd: Path | None = None) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_S, cwd=cwd)
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).decode(errors="replace").strip()[-300:]
        raise ClientMissingError(f"{' '.join(map(str, command[:3]))} failed: {' '.join(said.split())}") from error
    except subprocess.TimeoutExpired as error:
        raise ClientMissingError(f"{Path(command[0]).name} took over {INSTALL_S:g} s") from error


def main() -> None:
    """Make every environment."""
    for name in LOCKS:
        print(f"{name}: {python_of(name)}", flush=True)
    print(f"node: {node_folder()}", flush=True)
    for name in DEBIAN:
        print(f"{name}: {debian_folder(name)}", flush=True)


if __name__ == "__main__":
    main()
