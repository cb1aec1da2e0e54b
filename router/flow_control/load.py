"""How much waits and is offered, as one gateway's admission of one model tells it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AdmissionLoad:
    """What one gateway tells the autoscaler of one model; counts since the gateway started, sums of estimated work.

    Attributes:
        waiting_requests: waiting now.
        held_requests: of those, the ones that wait because there is no replica.
        waiting_work: the work of those that wait.
        in_flight: dispatched and not yet ended.
        offered_requests: ever offered, refused ones included: they are demand too.
        offered_work: their work.
        offered_work_squared: the sum of their works' squares: how much chance there is in `offered_work`.
        dispatched_work: of the requests ever dispatched.
        refused_requests: ever refused.
        occupancy: share of the replicas' learned limits that is taken, 0 to 1.
        prefill_s: seconds of prefill given to replicas.
        drain_s: how long all that waits would take at the rate at which requests were dispatched lately; 0: not known.
    """

    waiting_requests: int
    held_requests: int
    waiting_work: float
    in_flight: int
    offered_requests: int
    offered_work: float
    offered_work_squared: float
    dispatched_work: float
    refused_requests: int
    occupancy: float
    prefill_s: float
    drain_s: float
