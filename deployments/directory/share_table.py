"""How much of each tenant's limits each gateway may use: parts that never add up to more than the limit. Pure.

A limit holds for the cluster whatever the number of gateways, because a part is given only of what no other gateway
holds: one whose part shrinks gives it up with its own call, and the next call of another takes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from router.flow_control.tenant_limits.limit_shares import IDLE, Deal, LimitKey, Want, equal_part

CUT_OFF_S: Final = 60.0
"""Seconds for which the parts of a gateway that is not heard of stay reserved: it may be cut off and use them."""
FORGET_S: Final = 10.0
"""Seconds after which a limit that is in use nowhere is forgotten: by then each gateway has its equal part again."""
IDLE_PART: Final = 0.02
"""Part of a limit that all gateways together keep where nothing is asked for, so that a first request is taken at once:
into debt where it is more, or where one request at once each is no more than this part."""
_NOTHING: Final = Want(0.0)
_ROUNDING: Final = 1e-6


@dataclass(slots=True)
class _Row:
    """What one gateway wants of one limit, and its part."""

    want: Want
    part: float


@dataclass(slots=True)
class _Limit:
    """One limit that is in use.

    Attributes:
        used_s: when it was last in use.
        whole: as in `Want`.
        rows: by gateway; one that has not called since the limit is in use has none, and holds an equal part.
        dealt: the sum of their parts.
    """

    used_s: float
    whole: int = 0
    rows: dict[str, _Row] = field(default_factory=dict)
    dealt: float = 0.0

    def put(self, gateway_id: str, row: _Row) -> None:
        """Set a gateway's row."""
        self.take_out(gateway_id)
        self.rows[gateway_id] = row
        self.dealt += row.part

    def take_out(self, gateway_id: str) -> None:
        """Remove a gateway's row."""
        row = self.rows.pop(gateway_id, None)
        if row is not None:
            self.dealt -= row.part


class ShareTable:
    """The parts that gateways hold. A call costs a step for each limit that is in use at any gateway.

    Args:
        now_s: the time, seconds.
        settle_s: seconds after the start within which every living gateway has called. Until then nothing is dealt, as
            gateways that have not called yet hold parts of an earlier life of the table.
    """

    def __init__(self, now_s: float, settle_s: float) -> None:
        self._settles_s = now_s + settle_s
        self._heard_s: dict[str, float] = {}
        self._limits: dict[LimitKey, _Limit] = {}

    def deal(
        self, gateway_id: str, wants: Mapping[LimitKey, Want], held: Mapping[LimitKey, float], now_s: float
    ) -> Deal:
        """Take what a gateway wants and return its part of each limit that is in use.

        Args:
            gateway_id: the gateway's id.
            wants: what it wants of the limits that are in use there.
            held: the parts that it was dealt before.
            now_s: the time, seconds.
        """
        for silent in [key for key, heard_s in self._heard_s.items() if heard_s < now_s - CUT_OFF_S]:
            self.forget(silent)
        self._heard_s[gateway_id] = now_s
        for key in wants.keys() - self._limits.keys():
            self._limits[key] = _Limit(now_s)
        gone = [key for key, limit in self._limits.items() if limit.used_s < now_s - FORGET_S and key not in wants]
        for key in gone:
            del self._limits[key]
        is_settled = now_s >= self._settles_s
        parts = {}
        for key, limit in self._limits.items():
            want = wants.get(key, _NOTHING)
            if want.demand >= IDLE or want.used:
                limit.used_s = now_s
            parts[key] = self._part(limit, gateway_id, want, held.get(key), is_settled=is_settled)
        return Deal(len(self._heard_s), parts)

    def forget(self, gateway_id: str) -> None:
        """Free the parts of a gateway that has ended."""
        self._heard_s.pop(gateway_id, None)
        for limit in self._limits.values():
            limit.take_out(gateway_id)

    def _part(self, limit: _Limit, gateway_id: str, want: Want, held: float | None, *, is_settled: bool) -> float:
        count = len(self._heard_s)
        limit.whole = want.whole or limit.whole
        equal = equal_part(count, limit.whole)
        known = limit.rows.get(gateway_id)
        before = known.part if known is not None else equal if held is None else held
        limit.put(gateway_id, _Row(want, before))
        untold = (count - len(limit.rows)) * equal
        free = max(0.0, 1.0 - untold - (limit.dealt - before))
        part = min(free, self._targets(limit)[gateway_id] if is_settled else before)
        part = max(part, want.used)
        limit.put(gateway_id, _Row(want, part))
        return part

    def _targets(self, limit: _Limit) -> dict[str, float]:
        """Return the parts that gateways should have: what each asks for, or as much as all others that ask for more.

        What nobody asks for is divided equally. So parts don't change with the demand while there is more of it
        everywhere than there is to give, nor while there is enough for everybody.
        """
        count, whole = len(self._heard_s), limit.whole
        if whole:
            idle = 1 if count <= whole * IDLE_PART else 0
            needs = {
                key: float(max(idle, ceil(row.want.demand * whole - _ROUNDING))) for key, row in limit.rows.items()
            }
            pieces = whole - (count - len(needs)) * (whole // count)
            return {key: part / whole for key, part in _divided(needs, pieces, whole=True).items()}
        needs = {key: row.want.demand + IDLE_PART / count for key, row in limit.rows.items()}
        return _divided(needs, 1.0 - (count - len(needs)) / count, whole=False)

    def check_integrity(self) -> None:
        """Check that no limit is dealt out more than once, but where more is in use than it allows.

        Raises:
            AssertionError: one is, or a sum is wrong; the message says which.
        """
        for key, limit in self._limits.items():
            dealt = sum(row.part for row in limit.rows.values())
            if abs(dealt - limit.dealt) > _ROUNDING:
                raise AssertionError(f"{key}: parts of {dealt} are counted as {limit.dealt}")
            if dealt > 1.0 + _ROUNDING and not any(row.want.used for row in limit.rows.values()):
                raise AssertionError(f"{key}: {dealt} of the limit is dealt out")


def _divided(needs: Mapping[str, float], total: float, *, whole: bool) -> dict[str, float]:
    """Divide `total` so that each has what it needs, or as much as all others that need more; the rest equally.

    With `whole` all numbers are whole.
    """
    parts: dict[str, float] = {}
    rest = total
    for place, key in enumerate(sorted(needs, key=lambda each: (needs[each], each))):
        left = len(needs) - place
        parts[key] = min(needs[key], rest // left if whole else rest / left)
        rest -= parts[key]
    each, over = divmod(rest, len(parts)) if whole else (rest / len(parts), 0.0)
    begin = len(parts) - over  # those who need most are last
    return {key: part + each + (place >= begin) for place, (key, part) in enumerate(parts.items())}
