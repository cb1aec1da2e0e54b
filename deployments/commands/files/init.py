"""`rackserve init`: writes a cluster file to begin with."""

from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from cluster.errors import ClusterError

TEMPLATE: Final = Path(__file__).parents[2] / "examples" / "init.yaml"


def init(file: Path, *, console: Console) -> None:
    """Write a commented cluster file that serves as it is.

    Args:
        file: where to write it; nothing may be there.
        console: where to say what to do next.

    Raises:
        ClusterError: something is there already, or it cannot be written.
    """
    try:
        with file.open("x", encoding="utf-8") as written:
            written.write(TEMPLATE.read_text(encoding="utf-8"))
    except FileExistsError as error:
        raise ClusterError(f"{file} is there already; nothing was written") from error
    except OSError as error:
        raise ClusterError(f"{file} cannot be written: {error.strerror or error}") from error
    console.print(Text(f"Wrote {file}. Next: rackserve validate {file}, then rackserve serve {file}"), soft_wrap=True)
