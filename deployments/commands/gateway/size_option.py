"""Sizes as people type them after an option: `32M`, `512KiB`, `1000000`."""

import re
from typing import Final

import typer

_SIZE: Final = re.compile(r"(\d{1,15})\s*([kmg]?)(i?b)?", re.IGNORECASE)
LEAST_BYTES: Final = 1024
"""Least size that is taken."""
_POWER: Final = {"": 0, "k": 1, "m": 2, "g": 3}


def size_bytes(text: str) -> int:
    """Return a size in bytes. K, M and G are powers of 1024, as are KiB, MiB and GiB; KB, MB and GB are powers of 1000.

    Raises:
        typer.BadParameter: it is no size, or less than `LEAST_BYTES`.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no size; right would be 64M, or bytes as a number")
    base = 1000 if (found[3] or "").lower() == "b" else 1024
    size = int(found[1]) * int(base ** _POWER[found[2].lower()])
    if size < LEAST_BYTES:
        raise typer.BadParameter(f"{text!r} is less than {LEAST_BYTES} bytes, so no request would fit")
    return size
