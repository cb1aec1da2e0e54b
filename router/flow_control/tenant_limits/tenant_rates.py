"""How much a tenant may ask for, over all models and all gateways of a cluster."""

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True)
class TenantRates:
    """One tenant's limits on requests and tokens.

    Attributes:
        requests_per_minute: requests per minute to all models; infinite: no limit.
        tokens_per_minute: work per minute, in tokens, on all models; infinite: no limit.
        requests_burst: requests that may come at once after a pause; None: those of `BURST_S` seconds of the limit.
        tokens_burst: work, in tokens, that may come at once after a pause; None: that of `BURST_S` seconds.
        requests_at_once: requests that may wait and run at once, of all models; None: no limit.
    """

    requests_per_minute: float = inf
    tokens_per_minute: float = inf
    requests_burst: float | None = None
    tokens_burst: float | None = None
    requests_at_once: int | None = None
