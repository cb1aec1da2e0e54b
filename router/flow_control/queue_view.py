"""One model's queue in one gateway, as people see it in `/state` and the metrics."""

from dataclasses import dataclass

from router.flow_control.priority import Priority


@dataclass(frozen=True)
class QueueView:
    """One model's queue at one moment.

    Attributes:
        waiting: number of waiting requests.
        held: number of these that wait because no replica takes requests.
        waiting_work: estimated work of the waiting requests, in tokens.
        drain_s: seconds until all of them are dispatched, at the learned drain rate; 0: not known.
        in_flight: number of requests that are dispatched and have not ended.
        refused: number of requests ever refused.
        tenants: for each tenant and class: tenant, class, and the number of its waiting requests, which may be 0.
    """

    waiting: int
    held: int
    waiting_work: float
    drain_s: float
    in_flight: int
    refused: int
    tenants: tuple[tuple[str, Priority, int], ...]
