"""Write the lock files with hashes, of the packages that images are made of: `make lock`.

Each of `.setup/hashes/EXTRA-MACHINE.txt` has every package that the extra needs on that kind of machine, and the SHA-256
of each file that may be installed for it. `.setup/install environment` gives it to `pip install --require-hashes`.
Versions are those of `.setup/constraints.txt`, which is what `.venv` holds; vLLM for GPUs pins torch and much else its
own way, so of ours only what `pyproject.toml` names stays pinned there.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCKS = (("cpu", "x86_64"), ("gpu", "x86_64"), ("gpu", "aarch64"))
"""Extras and machines. The CPU build of torch for Arm is on PyTorch's own index alone, so `cpu` has no lock there."""
PLATFORM = "{}-manylinux_2_36"
"""Debian 12, which the image is made of, has glibc 2.36."""
PYTHON = "3.11"


def constraints(extra: str) -> str:
    """Return the versions that hold for an extra, one a line."""
    pins = (ROOT / ".setup" / "constraints.txt").read_text()
    if extra != "gpu":
        return pins
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ours = {_plain(re.split(r"[^\w.-]", each)[0]) for each in project["dependencies"]}
    return "".join(line for line in pins.splitlines(keepends=True) if _plain(line.partition("==")[0]) in ours)


def locked(extra: str, machine: str, find_links: list[str]) -> str:
    """Return a lock file's text.

    Args:
        extra: the extra of `pyproject.toml`.
        machine: kind of machine, as `uname -m` calls it.
        find_links: folders or pages with files that the index lacks.

    Raises:
        subprocess.CalledProcessError: uv found no solution; it says why on stderr.
    """
    with tempfile.TemporaryDirectory() as folder:
        pins, found = Path(folder, "constraints.txt"), Path(folder, "pylock.toml")
        pins.write_text(constraints(extra))
        command = [
            sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--quiet",
            "--extra", extra, "--extra", "compile", "--constraint", str(pins),
            "--python-version", PYTHON, "--python-platform", PLATFORM.format(machine),
            "--format", "pylock.toml", "--output-file", str(found),
            *(f"--find-links={link}" for link in find_links),
        ]  # fmt: skip
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        packages = tomllib.loads(found.read_text())["packages"]
    lines = ["# Made by `make lock`: what the image's packages are, and the SHA-256 of their files.\n"]
    for package in packages:
        files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
        if not package.get("wheels"):
            print(f"{extra} {machine}: {package['name']} {package['version']} has no wheel: it is built from source")
        hashes = sorted({file["hashes"]["sha256"] for file in files})
        marker = f" ; {package['marker']}" if "marker" in package else ""
        pin = f"{package['name']}=={package['version']}{marker}"
        lines.append(" \\\n    ".join([pin, *(f"--hash=sha256:{digest}" for digest in hashes)]) + "\n")
    return "".join(lines)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    """Write all lock files; arguments are folders or pages with files that the index lacks."""
    for extra, machine in LOCKS:
        links = sys.argv[1:] if extra == "cpu" else []
        text = locked(extra, machine, links)
        (ROOT / ".setup" / "hashes" / f"{extra}-{machine}.txt").write_text(text)


if __name__ == "__main__":
    main()
