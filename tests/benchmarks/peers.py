"""The peers that run beside us, each in a virtual environment of its own: `python -m tests.benchmarks.peers`."""

import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.benchmarks.server_process import ROOT

PEERS: Final = ROOT / ".cache" / "peers"

REQUIREMENTS: Final[dict[str, tuple[str, ...]]] = {
    "vllm-router": ("vllm-router==0.1.17",),
}
"""What each peer's environment holds."""


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
