"""Reads `launch.package`: what pip installs on every node."""

import re
from dataclasses import dataclass
from typing import Final

FOLDER: Final = "rackserve-package"
"""Folder for the wheel on every node, in the user's home."""

_WHEEL = re.compile(r"(?P<file>.*\.whl)(?P<extras>\[[A-Za-z0-9,_-]+\])?")


@dataclass(frozen=True, slots=True)
class Package:
    """A package to install.

    Attributes:
        file: path of a wheel on this machine; "": none, and `argument` is a requirement from a package index.
        argument: argument for `pip install`, to stand in double quotes in a shell on the node.
    """

    file: str
    argument: str

    @classmethod
    def of(cls, text: str) -> "Package":
        """Return the package of `text`: `rackserve[gpu]==0.1.0` or `dist/rackserve-0.1.0-py3-none-any.whl[gpu]`."""
        found = _WHEEL.fullmatch(text)
        if found is None:
            return cls("", text)
        name = found["file"].rpartition("/")[2]
        return cls(found["file"], f"$HOME/{FOLDER}/{name}{found['extras'] or ''}")

    @property
    def mounts(self) -> dict[str, str]:
        """The `file_mounts` of the `ray up` file: path on this machine, by path on the nodes."""
        return {f"~/{FOLDER}/{self.file.rpartition('/')[2]}": self.file} if self.file else {}
