"""The directory's lease table: its members and when each one's lease ends. Pure: the time is passed in."""

from dataclasses import dataclass
from math import inf

from deployments.directory.membership import GatewayEndpoint, Member, View, member_id
from router.replicas.endpoint import Endpoint

LEASE_S = 5.0
"""Seconds after its last announcement during which a member counts as alive.

Gateways notice a dead replica sooner, by its connections and its telemetry. The lease is the last resort, so it is
longer than a garbage collection or a busy second of the member's process.
"""
RENEW_S = 2.0
"""Seconds between two renewals of a member: one may be lost before its lease ends.

Each is a call that the directory holds this long, so a member whose directory dies notices at once, and announces
itself to the next one within milliseconds of its start.
"""


@dataclass(slots=True)
class _Lease:
    member: Member
    expires_s: float


class LeaseTable:
    """Members and their leases.

    Announcing is idempotent and carries the whole row, so a table that has just started fills itself from renewals.

    Args:
        epoch: the name of this life of the directory.
        now_s: the time at which it starts, seconds.
        lease_s: seconds that an announcement counts.
    """

    def __init__(self, epoch: str, now_s: float, lease_s: float = LEASE_S) -> None:
        self._epoch = epoch
        self._lease_s = lease_s
        self._settles_s = now_s + lease_s
        self._settled = False
        self._version = 0
        self._leases: dict[str, _Lease] = {}
        self._withdrawn_until_s: dict[str, float] = {}
        self._emptied_s: float | None = now_s

    def announce(self, member: Member, now_s: float) -> bool:
        """Give or renew a member's lease; return False if it has withdrawn, for then a late renewal is ignored."""
        key = member_id(member)
        if key in self._withdrawn_until_s:
            return False
        lease = self._leases.get(key)
        if lease is None or lease.member != member:
            self._version += 1
            self._leases[key] = _Lease(member, now_s + self._lease_s)
            self._emptied_s = None
        else:
            lease.expires_s = now_s + self._lease_s
        return True

    def withdraw(self, key: str, now_s: float) -> None:
        """End a lease at once and for good: ids are never used again."""
        if key not in self._withdrawn_until_s:
            self._version += 1
        # Kept for two leases: longer than any renewal on its way takes, and than a new epoch needs to settle.
        self._withdrawn_until_s[key] = now_s + 2 * self._lease_s
        self._drop([key], now_s)

    def advance(self, now_s: float) -> None:
        """End the leases that ran out; call it several times per lease."""
        over = [key for key, lease in self._leases.items() if lease.expires_s <= now_s]
        if over:
            self._version += 1
            self._drop(over, now_s)
        if not self._settled and now_s >= self._settles_s:
            self._settled = True
            self._version += 1
        for key in [key for key, until_s in self._withdrawn_until_s.items() if until_s <= now_s]:
            del self._withdrawn_until_s[key]

    @property
    def version(self) -> int:
        """The version of the view; grows with every change."""
        return self._version

    def next_end_s(self) -> float:
        """Return when the next thing ends by itself: a lease, the time to settle, or the memory of a withdrawal.

        Infinite: nothing does.
        """
        ends_s = [lease.expires_s for lease in self._leases.values()]
        ends_s += self._withdrawn_until_s.values()
        return min(ends_s if self._settled else [*ends_s, self._settles_s], default=inf)

    def _drop(self, keys: list[str], now_s: float) -> None:
        for key in keys:
            self._leases.pop(key, None)
        if not self._leases and self._emptied_s is None:
            self._emptied_s = now_s

    def empty_for_s(self, now_s: float) -> float:
        """Return for how many seconds the table has been empty; 0 while there is a member."""
        return 0.0 if self._emptied_s is None else now_s - self._emptied_s

    def view(self) -> View:
        """Return the live members."""
        members = [self._leases[key].member for key in sorted(self._leases)]
        return View(
            epoch=self._epoch,
            version=self._version,
            settled=self._settled,
            replicas=tuple(member for member in members if isinstance(member, Endpoint)),
            gateways=tuple(member for member in members if isinstance(member, GatewayEndpoint)),
            withdrawn=frozenset(self._withdrawn_until_s),
        )

    def check_integrity(self) -> None:
        """Check the table's invariants.

        Raises:
            AssertionError: one does not hold; the message says which.
        """
        if any(key != member_id(lease.member) for key, lease in self._leases.items()):
            raise AssertionError("a lease stands under another member's id")
        if self._leases.keys() & self._withdrawn_until_s.keys():
            raise AssertionError("a member that withdrew has a lease")
        if bool(self._leases) != (self._emptied_s is None):
            raise AssertionError("the table does not know whether it is empty")
