"""Tenants' limits: requests and tokens per minute and requests at once, over all models of one gateway process."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Final

from router.flow_control.tenant_limits.limit_shares import IDLE, Deal, LimitKey, LimitKind, Want, equal_part
from router.flow_control.tenant_limits.requests_at_once import RequestsAtOnce
from router.flow_control.tenant_limits.tenant_rates import TenantRates
from router.flow_control.tenant_limits.token_bucket import TokenBucket
from router.flow_control.tenant_limits.unsettled import UnsettledCharges

_MINUTE_S: Final = 60.0
BURST_S: Final = 10.0
"""Seconds of its limit that a tenant may use at once after a pause, unless its burst is set."""


@dataclass(frozen=True)
class RateView:
    """One limit of a tenant as it stands now.

    Attributes:
        per_minute: the limit, requests or tokens per minute; of all gateways together.
        remaining: how many of them may come at once now, at least 0; of all gateways together, about.
        full_s: seconds until a whole burst may come again, if nothing else comes.
    """

    per_minute: float
    remaining: float
    full_s: float


class RateLimits:
    """The limits of the tenants that have some. The admissions of all models share them.

    Where several gateways share a limit, each has a part of it (`share`) and says what it wants (`wants`).

    Args:
        tenants: limits by tenant name.
        now_s: the time, monotonic seconds.

    Attributes:
        applies: any tenant has a limit; else there is nothing to take or to settle.
    """

    def __init__(self, tenants: Mapping[str, TenantRates], now_s: float) -> None:
        self.applies = False
        self._requests: dict[str, TokenBucket] = {}
        self._tokens: dict[str, TokenBucket] = {}
        self._at_once: dict[str, RequestsAtOnce] = {}
        self._unsettled: dict[str, UnsettledCharges] = {}
        self._active: set[str] = set()
        self._named: set[LimitKey] = set()
        self._gateways = 1
        self.set_tenants(tenants, now_s)

    def set_tenants(self, tenants: Mapping[str, TenantRates], now_s: float) -> None:
        """Apply other limits from now on. A bucket whose limit stays the same keeps its level; the others are full."""
        self._requests = self._buckets(
            {name: (each.requests_per_minute, each.requests_burst) for name, each in tenants.items()},
            self._requests,
            now_s,
        )
        self._tokens = self._buckets(
            {name: (each.tokens_per_minute, each.tokens_burst) for name, each in tenants.items()}, self._tokens, now_s
        )
        self._unsettled = {name: self._unsettled.get(name) or UnsettledCharges() for name in self._tokens}
        at_once: dict[str, RequestsAtOnce] = {}
        for name, each in tenants.items():
            if each.requests_at_once is not None:
                found = at_once[name] = self._at_once.get(name) or RequestsAtOnce()
                found.limit = each.requests_at_once
                if name not in self._at_once:
                    found.share = equal_part(self._gateways, found.limit)
        self._at_once = at_once
        self.applies = bool(self._requests or self._tokens or self._at_once)

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
        at_once = self._at_once.get(tenant)
        wait_s = 0.0
        self._active.add(tenant)
        if requests is not None:
            requests.asked(1.0, now_s)
            wait_s = requests.wait_s(1.0, now_s)
        if tokens is not None:
            tokens.asked(work, now_s)
            if (missing := tokens.missing(work, now_s)) > 0:
                wait_s = max(wait_s, self._unsettled[tenant].wait_s(missing, tokens.per_s, now_s))
        if at_once is not None:
            wait_s = max(wait_s, at_once.wait_s(now_s))
        if wait_s == 0.0:
            if requests is not None:
                requests.take(1.0)
            if tokens is not None:
                tokens.take(work)
                self._unsettled[tenant].charged(work, now_s)
            if at_once is not None:
                at_once.begin()
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
        at_once = self._at_once.get(tenant)
        if at_once is not None:
            at_once.end(arrived_s, now_s)

    def give_back(self, tenant: str, estimated_work: float, arrived_s: float) -> None:
        """Give back the tokens of a request that was charged and then not served; it counts as a request."""
        tokens = self._tokens.get(tenant)
        if tokens is not None:
            tokens.take(-estimated_work)
            self._unsettled[tenant].dropped(estimated_work, arrived_s)
        at_once = self._at_once.get(tenant)
        if at_once is not None:
            at_once.give_back()

    def view(self, tenant: str, now_s: float) -> tuple[RateView | None, RateView | None]:
        """Return how a tenant's limits on requests and on tokens stand; None: it has no such limit."""
        return _view(self._requests.get(tenant), now_s), _view(self._tokens.get(tenant), now_s)

    def wants(self, now_s: float) -> dict[LimitKey, Want]:
        """Return what this gateway wants of each limit that is in use here, as parts of it."""
        found: dict[LimitKey, Want] = {}
        for tenant in list(self._active):
            wanted = dict(self._wants_of(tenant, now_s))
            if any(want.demand >= IDLE or want.used for want in wanted.values()):
                found |= wanted
            else:
                self._active.discard(tenant)
        return found

    def _wants_of(self, tenant: str, now_s: float) -> Iterator[tuple[LimitKey, Want]]:
        for kind, buckets in ((LimitKind.REQUESTS, self._requests), (LimitKind.TOKENS, self._tokens)):
            bucket = buckets.get(tenant)
            if bucket is not None:
                yield LimitKey(tenant, kind), Want(bucket.demand(now_s))
        at_once = self._at_once.get(tenant)
        if at_once is not None:
            yield LimitKey(tenant, LimitKind.AT_ONCE), at_once.want(now_s)

    def share(self, deal: Deal, now_s: float) -> None:
        """Use this gateway's parts of the limits from now on: those that are named, equal ones of the others."""
        unnamed = self._named if deal.gateways == self._gateways else set(self._keys())
        self._gateways = deal.gateways
        self._named = set(deal.parts)
        for key in unnamed - self._named:
            self._set_part(key, None, now_s)
        for key, part in deal.parts.items():
            self._set_part(key, part, now_s)

    def _set_part(self, key: LimitKey, part: float | None, now_s: float) -> None:
        """Use a part of one limit; None: the equal part. A limit that there isn't is ignored."""
        if key.kind is LimitKind.AT_ONCE:
            at_once = self._at_once.get(key.tenant)
            if at_once is not None:
                at_once.share = equal_part(self._gateways, at_once.limit) if part is None else part
            return
        bucket = (self._requests if key.kind is LimitKind.REQUESTS else self._tokens).get(key.tenant)
        if bucket is not None:
            bucket.set_share(equal_part(self._gateways) if part is None else part, now_s)

    def _keys(self) -> Iterator[LimitKey]:
        yield from (LimitKey(tenant, LimitKind.REQUESTS) for tenant in self._requests)
        yield from (LimitKey(tenant, LimitKind.TOKENS) for tenant in self._tokens)
        yield from (LimitKey(tenant, LimitKind.AT_ONCE) for tenant in self._at_once)

    def _buckets(
        self, limits: Mapping[str, tuple[float, float | None]], known: Mapping[str, TokenBucket], now_s: float
    ) -> dict[str, TokenBucket]:
        buckets = {}
        for name, (per_minute, asked_burst) in limits.items():
            if not isfinite(per_minute):
                continue
            per_s = per_minute / _MINUTE_S
            burst = max(1.0, per_s * BURST_S) if asked_burst is None else asked_burst
            bucket = known.get(name)
            if bucket is None or bucket.limit != (per_s, burst):
                share = equal_part(self._gateways) if bucket is None else bucket.share
                bucket = TokenBucket(per_s, burst, now_s, share)
            buckets[name] = bucket
        return buckets


def _view(bucket: TokenBucket | None, now_s: float) -> RateView | None:
    if bucket is None:
        return None
    per_s, burst = bucket.limit
    remaining = min(burst, bucket.level(now_s) / bucket.share)
    return RateView(_MINUTE_S * per_s, max(0.0, remaining), (burst - remaining) / per_s)
