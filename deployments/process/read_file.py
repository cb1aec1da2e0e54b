"""Reads a text file that an operator named."""

from pathlib import Path

from cluster.errors import SpecError, SpecProblem


def read_text(file: Path) -> str:
    """Return the file's text.

    Raises:
        SpecError: the file cannot be read, or is not UTF-8 text.
    """
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(str(file), [SpecProblem("", f"not a text file: {error}")]) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise SpecError(str(file), [SpecProblem("", f"cannot be read from {Path.cwd()}: {reason}")]) from error
