"""Maps Ray's errors to RackServe's, with the first line of Ray's message."""

import contextlib
from collections.abc import Iterator, Sequence

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from cluster.errors import ClusterError


@contextlib.contextmanager
def ray_errors(doing: str) -> Iterator[None]:
    """Raise ClusterError in place of Ray's errors; its message begins with `doing`, what was being done."""
    try:
        yield
    except (RayError, RayServeException, ConnectionError, TimeoutError, RuntimeError) as error:
        raise ClusterError(f"{doing}: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; Ray appends tracebacks of other processes."""
    lines: Sequence[str] = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]
