"""A gateway's part of a tenant's limits, where several gateways share them: what it asks for and what it gets."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

IDLE: Final = 1e-3
"""Demand, as a part of the limit, below which nothing is asked for."""


class LimitKind(StrEnum):
    """What a tenant's limit is on."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    AT_ONCE = "at_once"


class LimitKey(NamedTuple):
    """One limit of one tenant.

    Attributes:
        tenant: the tenant's name.
        kind: what it is on.
    """

    tenant: str
    kind: LimitKind


class Want(NamedTuple):
    """What one gateway asks of one limit; the numbers are parts of the limit.

    Attributes:
        demand: what is asked for at this gateway, refused requests included; more than the limit counts as all of it.
        used: the part that it cannot give up: requests that run.
        whole: the limit, where parts of it are whole numbers of requests; 0: it can be divided in any way.
    """

    demand: float
    used: float = 0.0
    whole: int = 0


class Deal(NamedTuple):
    """What a gateway may use.

    Attributes:
        gateways: how many share the limits; of a limit that `parts` does not name each has an equal part.
        parts: its part, 0 to 1, of each limit that is in use at any gateway.
    """

    gateways: int
    parts: Mapping[LimitKey, float]


def equal_part(gateways: int, whole: int = 0) -> float:
    """Return the part of a limit that each of so many gateways has while it is in use at none."""
    return whole // gateways / whole if whole else 1.0 / gateways
