"""A wall clock that jumps, for chosen processes alone: a library that they preload adds what a file says.

`libfaketime` is not on this machine, and setting the machine's own clock would set it for everybody on it.
"""

import mmap
import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("shifted_clock.c")


class JumpingClock:
    """The wall clock of the processes that have `env`.

    Args:
        folder: for the library and the file.

    Raises:
        RuntimeError: there is no C compiler, or it fails.

    Attributes:
        env: what puts a process under this clock.
    """

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise RuntimeError("a clock that jumps needs a C compiler, and there is none")
        library, file = folder / "shifted_clock.so", folder / "clock_shift_s"
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            raise RuntimeError(f"{SOURCE.name} does not compile: {made.stderr[-300:]}")
        file.write_bytes(struct.pack("d", 0.0))
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), 8)
        self.env = {"LD_PRELOAD": str(library), "SHIFTED_CLOCK": str(file)}

    def jump(self, shift_s: float) -> None:
        """Show the machine's time and `shift_s` seconds, from now on."""
        self._map[:] = struct.pack("d", shift_s)

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()
