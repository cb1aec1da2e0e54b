"""What the replicas of a pool do with KV blocks for the other pools of their model."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from cluster.spec.role import Role


@dataclass(frozen=True, slots=True)
class KvDuties:
    """Whether replicas pass KV blocks on.

    Attributes:
        sends: they compute prompts, and keep their blocks until a replica of another pool has fetched them.
        receives: they fetch the blocks of prompts that a replica of another pool has computed.
    """

    sends: bool = False
    receives: bool = False

    def __bool__(self) -> bool:
        """Return whether they do either."""
        return self.sends or self.receives

    @classmethod
    def of(cls, role: Role, others: Iterable[Role] = ()) -> Self:
        """Return the duties of a pool.

        Args:
            role: its role.
            others: the roles of its model's other pools. Beside one that only prefills, a pool that does both also
                fetches; beside one that only decodes, it also keeps prompts for that one.
        """
        beside = set(others) if role is Role.BOTH else set()
        return cls(
            sends=role is Role.PREFILL or Role.DECODE in beside,
            receives=role is Role.DECODE or Role.PREFILL in beside,
        )


NO_DUTIES = KvDuties()
"""Of a pool that is alone, or among pools which all do both."""
