"""A disk of a few MB that can be filled to its last byte: a tmpfs of its own."""

import os
import subprocess
from pathlib import Path
from typing import Final

BYTES: Final = 24 * 2**20


class SmallDisk:
    """The disk.

    Args:
        folder: where it is mounted; made if it is missing.

    Attributes:
        folder: where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"
        self.is_real = False

    def mount(self) -> None:
        """Mount it; without the right to (root), it is a plain folder that `fill` leaves alone."""
        self.folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={BYTES}", "tmpfs", str(self.folder)]
        self.is_real = subprocess.run(command, capture_output=True, check=False).returncode == 0

    def unmount(self) -> None:
        """Take it away with everything on it."""
        if self.is_real:
            subprocess.run(["umount", "--lazy", str(self.folder)], capture_output=True, check=False)
            self.is_real = False

    def fill(self) -> None:
        """Leave no byte free."""
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(65_536))
            except OSError:
                os.fsync(file.fileno())

    def empty(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)
