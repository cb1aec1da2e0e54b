"""Priority classes."""

from enum import IntEnum


class Priority(IntEnum):
    """How urgent a request is; the lower the number, the sooner it is served."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


_BY_NAME = {priority.name.lower(): priority for priority in Priority}


def priority_named(name: str) -> Priority:
    """Return the class that `x-priority` or the cluster file calls `name`.

    Raises:
        ValueError: there is none of that name.
    """
    priority = _BY_NAME.get(name.strip().lower())
    if priority is None:
        raise ValueError(f"no priority is called {name!r}; there are: {', '.join(_BY_NAME)}")
    return priority
