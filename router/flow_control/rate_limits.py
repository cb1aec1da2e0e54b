"""Tenants' rate limits: requests and tokens per minute, over all models of one gateway process."""

from collections.abc import Mapping
from math import isfinite

from router.flow_control.limits import TenantLimits
from router.flow_control.token_bucket import TokenBucket

_MINUTE_S = 60.0
BURST_S = 10.0
"""Seconds of its limit that a tenant may use at once after a pause."""


class RateLimits:
    """The token buckets of the tenants that have limits. The admissions of all models share them.

    Args:
        tenants: limits by tenant name.
        now_s: the time, monotonic seconds.
    """

    def __init__(self, tenants: Mapping[str, TenantLimits], now_s: float) -> None:
        self._requests: dict[str, TokenBucket] = {}
        self._tokens: dict[str, TokenBucket] = {}
        for name, limits in tenants.items():
            for per_minute, buckets in (
                (limits.requests_per_minute, self._requests),
                (limits.tokens_per_minute, self._tokens),
            ):
                if isfinite(per_minute):
                    per_s = per_minute / _MINUTE_S
                    buckets[name] = TokenBucket(per_s, max(1.0, per_s * BURST_S), now_s)

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
            0: it is within them and was charged. Above 0: seconds until it would be within them; it was not charged.
        """
        requests = self._requests.get(tenant)
        tokens = self._tokens.get(tenant)
        wait_s = max(
            requests.wait_s(1.0, now_s) if requests is not None else 0.0,
            tokens.wait_s(work, now_s) if tokens is not None else 0.0,
        )
        if wait_s == 0.0:
            if requests is not None:
                requests.take(1.0)
            if tokens is not None:
                tokens.take(work)
        return wait_s

    def settle(self, tenant: str, estimated_work: float, real_work: float) -> None:
        """Charge a request's real work instead of its estimate."""
        tokens = self._tokens.get(tenant)
        if tokens is not None:
            tokens.take(real_work - estimated_work)
