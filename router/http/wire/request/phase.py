"""What comes next from a client."""

from enum import Enum


class Phase(Enum):
    """What comes next from the client."""

    IDLE = "the next request"
    HEAD = "the rest of a head"
    BODY = "the rest of a body"
