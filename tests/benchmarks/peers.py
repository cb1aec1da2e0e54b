"""The peers that run beside us, each in a virtual environment of its own: `python -m tests.benchmarks.peers`."""

import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

from tests.benchmarks.server_process import ROOT

PEERS: Final = ROOT / ".cache" / "peers"

REQUIREMENTS: Final[dict[str, tuple[str, ...]]] = {
    "smg": ("smg==1.13.0",),
    "vllm-router": ("vllm-router==0.1.17",),
    # What the `llm` extra of Ray asks for beyond ours, without vllm and nixl, which it pins to CUDA builds.
    "ray-serve-llm": (
        "hf_transfer==0.1.9",
        "jsonref==1.1.0",
        "meson==1.12.1",
        "pandas==3.1.1",
        "pyarrow==26.0.1",
        "pybind11==3.1.0",
    ),
}
"""What each peer's environment holds."""
ON_TOP_OF_OURS: Final = frozenset({"ray-serve-llm"})
"""Peers that see our environment's packages too: the same Ray and the same vLLM that we run on."""


class PeerMissingError(Exception):
    """A peer is not installed; the message says how to."""


def peer_command(peer: str, command: str) -> str:
    """Return the path of a peer's command.

    Raises:
        PeerMissingError: it is not installed.
    """
    path = PEERS / peer / "bin" / command
    if not path.exists():
        raise PeerMissingError(f"{peer} is not installed at {path.parent.parent}: run `make bench-peers`")
    return str(path)


def install(peer: str) -> Path:
    """Install a peer if it isn't, or isn't as `REQUIREMENTS` wants it; return its environment.

    Raises:
        subprocess.CalledProcessError: pip failed; it has printed why.
    """
    environment = PEERS / peer
    wanted = "\n".join(REQUIREMENTS[peer]) + "\n"
    stamp = environment / "requirements.txt"
    if stamp.exists() and stamp.read_text() == wanted:
        return environment
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
    if peer in ON_TOP_OF_OURS:
        inside = Path("lib") / f"python3.{sys.version_info.minor}" / "site-packages"
        (environment / inside / "rackserve_environment.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *REQUIREMENTS[peer]], check=True)
    stamp.write_text(wanted)
    return environment


def main() -> None:
    """Install every peer."""
    for peer in REQUIREMENTS:
        print(f"{peer}: {install(peer)}", flush=True)


if __name__ == "__main__":
    main()
