"""Tenants' rate limits: requests and tokens per minute, over all models of one gateway process."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Final

from router.flow_control.limits import TenantLimits
from router.flow_control.token_bucket import TokenBucket
from router.flow_control.unsettled import UnsettledCharges

_MINUTE_S: Final = 60.0
BURST_S: Final = 10.0
"""Seconds of its limit that a tenant may use at once after a pause, unless its burst is set."""


@dataclass(frozen=True)
class RateView:
    """One limit of a tenant as it stands now.

    Attributes:
        per_minute: the limit, requests or tokens per minute.
        remaining: how many of them may come at once now, at least 0.
        full_s: seconds until a whole burst may come again, if nothing else comes.
    """

    per_minute: float
    remaining: float
    full_s: float


class RateLimits:
    """The token buckets of the tenants that have limits. The admissions of all models share them.

    Args:
        tenants: limits by tenant name.
        now_s: the time, monotonic seconds.
    """

    def __init__(self, tenants: Mapping[str, TenantLimits], now_s: float) -> None:
        self._requests: dict[str, TokenBucket] = {}
        self._tokens: dict[str, TokenBucket] = {}
        self._unsettled: dict[str, UnsettledCharges] = {}
        self.set_tenants(tenants, now_s)

    def set_tenants(self, tenants: Mapping[str, TenantLimits], now_s: float) -> None:
        """Apply other limits from now on. A bucket whose limit stays the same keeps its level; the others are full."""
        self._requests = _buckets(
            {name: (each.requests_per_minute, each.requests_burst) for name, each in tenants.items()},
            self._requests,
            now_s,
        )
        self._tokens = _buckets(
            {name: (each.tokens_per_minute, each.tokens_burst) for name, each in tenants.items()}, self._tokens, now_s
        )
        self._unsettled = {name: self._unsettled.get(name) or UnsettledCharges() for name in self._tokens}

    def __bool__(self) -> bool:
        """Tell whether any tenant has a limit."""
        return bool(self._requests or self._tokens)

    def take(self, tenant: str, work: float, now_s: float) -> float:
        """Charge a request if it is within its tenant's limits.

        Args:
            tenant: name of the tenant.
            work: the request's estimated work, in tokens.
            now_s: the time, monotonic seconds.

        Returns:
            0: it is within them and was charged. Above 0: seconds until it would be within them, about, if no other
            came; it was not charged.
        """
        requests = self._requests.get(tenant)
        tokens = self._tokens.get(tenant)
        wait_s = requests.wait_s(1.0, now_s) if requests is not None else 0.0
        if tokens is not None and (missing := tokens.missing(work, now_s)) > 0:
            wait_s = max(wait_s, self._unsettled[tenant].wait_s(missing, tokens.per_s, now_s))
        if wait_s == 0.0:
            if requests is not None:
                requests.take(1.0)
            if tokens is not None:
                tokens.take(work)
                self._unsettled[tenant].charged(work, now_s)
        return wait_s

    def settle(self, tenant: str, estimated_work: float, real_work: float, arrived_s: float, now_s: float) -> None:
        """Charge the real work of a request that ended instead of its estimate.

        Args:
            tenant: name of the tenant.
            estimated_work: what was charged when it came, in tokens.
            real_work: what it cost, in tokens.
            arrived_s: when it came, monotonic seconds.
            now_s: the time, monotonic seconds.
        """
        tokens = self._tokens.get(tenant)
        if tokens is not None:
            tokens.take(real_work - estimated_work)
            self._unsettled[tenant].settled(estimated_work, real_work, arrived_s, now_s)

    def give_back(self, tenant: str, estimated_work: float, arrived_s: float) -> None:
        """Give back the tokens of a request that was charged and then not served; it counts as a request."""
        tokens = self._tokens.get(tenant)
        if tokens is not None:
            tokens.take(-estimated_work)
            self._unsettled[tenant].dropped(estimated_work, arrived_s)

    def view(self, tenant: str, now_s: float) -> tuple[RateView | None, RateView | None]:
        """Return how a tenant's limits on requests and on tokens stand; None: it has no such limit."""
        return _view(self._requests.get(tenant), now_s), _view(self._tokens.get(tenant), now_s)


def _buckets(
    limits: Mapping[str, tuple[float, float | None]], known: Mapping[str, TokenBucket], now_s: float
) -> dict[str, TokenBucket]:
    buckets = {}
    for name, (per_minute, asked_burst) in limits.items():
        if not isfinite(per_minute):
            continue
        per_s = per_minute / _MINUTE_S
        burst = max(1.0, per_s * BURST_S) if asked_burst is None else asked_burst
        bucket = known.get(name)
        is_same = bucket is not None and (bucket.per_s, bucket.burst) == (per_s, burst)
        buckets[name] = bucket if bucket is not None and is_same else TokenBucket(per_s, burst, now_s)
    return buckets


def _view(bucket: TokenBucket | None, now_s: float) -> RateView | None:
    if bucket is None:
        return None
    level = bucket.level(now_s)
    return RateView(_MINUTE_S * bucket.per_s, max(0.0, level), (bucket.burst - level) / bucket.per_s)
