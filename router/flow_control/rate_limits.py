"""Tenants' rate limits: requests and tokens a minute, over all models of one gateway process."""

from collections.abc import Mapping
from math import isfinite

from router.flow_control.limits import TenantLimits
from router.flow_control.token_bucket import TokenBucket

_MINUTE_S = 60.0
BURST_S = 10.0
"""A bucket holds what so many seconds fill it with: a client may send that much at once after a pause."""


class RateLimits:
    """The buckets of the tenants that have limits; shared by the admissions of all models."""

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
        """Tell whether anyone has a limit."""
        return bool(self._requests or self._tokens)

    def take(self, tenant: str, work: float, now_s: float) -> float:
        """Charge a request if it is within its tenant's limits.

        Returns:
            0: it is, and it has been charged. Above 0: it is not; seconds until it would be.
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
