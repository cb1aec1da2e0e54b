"""sshd, ssh and rsync: the machine's own, or unpacked from Debian's packages into a folder, nothing installed."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.integration.launch.debian_packages import libraries, unpack

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
    if not (FOLDER / "usr" / "bin" / "rsync").exists() and (why_not := unpack(FOLDER, PACKAGES)):
        return f"sshd or rsync is missing: {why_not}"
    usr = FOLDER / "usr"
    env = {"PATH": f"{usr}/sbin:{usr}/bin:{path}", "LD_LIBRARY_PATH": libraries(FOLDER)}
    return SshPrograms(str(usr / "sbin" / "sshd"), env)
