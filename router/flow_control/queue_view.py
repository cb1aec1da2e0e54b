"""One model's waiting requests in one gateway, for people: `/state` and the metrics."""

from dataclasses import dataclass

from router.flow_control.priority import Priority


@dataclass(frozen=True, slots=True)
class QueueView:
    """One model's queue at one moment.

    Attributes:
        waiting: requests that wait.
        held: of those, the ones that wait because there is no replica.
        waiting_work: estimated work of those that wait, in tokens.
        drain_s: seconds that all that waits takes at the rate of dispatches so far; 0: not known.
        in_flight: requests dispatched and not yet ended.
        refused: requests ever refused.
        tenants: tenant, class and number of its waiting requests, of the tenants heard of lately.
    """

    waiting: int
    held: int
    waiting_work: float
    drain_s: float
    in_flight: int
    refused: int
    tenants: tuple[tuple[str, Priority, int], ...]
