"""Priority classes."""

from enum import IntEnum


class Priority(IntEnum):
    """A request's class; the lower the number, the more urgent."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


_BY_NAME = {priority.name.lower(): priority for priority in Priority}


def priority_named(name: str) -> Priority:
    """Return the class that `x-priority` or the cluster file calls `name`, in upper or lower case.

    Raises:
        ValueError: there is no class of that name.
    """
    priority = _BY_NAME.get(name.strip().lower())
    if priority is None:
        raise ValueError(f"no priority is called {name!r}; there are: {', '.join(_BY_NAME)}")
    return priority
