"""The bounds of what may wait, and what tenants may have."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType

from router.flow_control.priority import Priority


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """One tenant's share and rate limits.

    Attributes:
        weight: its share of a model's capacity against the other tenants' of the same class, above 0.
        priority: the class of its requests that ask for none.
        max_priority: the most urgent class they may ask for.
        requests_per_minute: of all models together, in one gateway process; infinite: no limit.
        tokens_per_minute: estimated and settled work, likewise.
    """

    weight: float = 1.0
    priority: Priority = Priority.NORMAL
    max_priority: Priority = Priority.NORMAL
    requests_per_minute: float = inf
    tokens_per_minute: float = inf


DEFAULT_TENANT = TenantLimits()


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """One model's bounds.

    Attributes:
        max_wait_s: a request that names no deadline of its own is refused when it would wait longer.
        cold_start_timeout_s: how long any request is held while the model has no replica at all; 0: it is refused.
        ageing_s: a class below others is owed its turn once its oldest request has waited so long.
        tenants: by name; others get `DEFAULT_TENANT`.
        late_binding: requests wait in the gateway until a replica has room; False: each goes to a replica at once, and
            waits there.
    """

    max_wait_s: float = 60.0
    cold_start_timeout_s: float = 600.0
    ageing_s: float = 10.0
    tenants: Mapping[str, TenantLimits] = field(default_factory=lambda: MappingProxyType({}))
    late_binding: bool = True

    def priority_of(self, tenant: str, asked: Priority | None) -> Priority:
        """Return the class of a tenant's request that asks for `asked` or, with None, for none."""
        limits = self.tenant(tenant)
        return limits.priority if asked is None else max(asked, limits.max_priority)

    def tenant(self, name: str) -> TenantLimits:
        """Return a tenant's limits."""
        return self.tenants.get(name, DEFAULT_TENANT)


class WaitingRoom:
    """How much may wait in one gateway process, all models together.

    Attributes:
        max_requests: at the most so many requests wait.
        max_bytes: and their bodies hold at the most so much memory.
        requests: waiting now.
        size_bytes: their bodies.
    """

    __slots__ = ("max_bytes", "max_requests", "requests", "size_bytes")

    def __init__(self, max_requests: int = 10_000, max_bytes: int = 1 << 30) -> None:
        self.max_requests = max_requests
        self.max_bytes = max_bytes
        self.requests = 0
        self.size_bytes = 0

    def fits(self, size_bytes: int, freed_requests: int = 0, freed_bytes: int = 0) -> bool:
        """Tell whether one more request fits once so much has been freed."""
        return (
            self.requests - freed_requests < self.max_requests
            and self.size_bytes - freed_bytes + size_bytes <= self.max_bytes
        )

    def enter(self, size_bytes: int) -> None:
        """Count a request in."""
        self.requests += 1
        self.size_bytes += size_bytes

    def leave(self, size_bytes: int) -> None:
        """Count a request out."""
        self.requests -= 1
        self.size_bytes -= size_bytes
