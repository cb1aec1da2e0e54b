"""What one gateway tells the autoscaler of its models: what waits, what is offered, how full replicas are. Plain data.

Work is estimated work, in tokens of prompt (see `router.flow_control.work`). Counters only grow within one life of a
gateway process; whoever sums gateways up goes by their differences.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """One model as one gateway knows it.

    Attributes:
        model: its name.
        waiting_requests: requests waiting in this gateway now, `held_requests` included.
        held_requests: of those, requests that wait because the model has no replica at all.
        waiting_work: the work of those that wait.
        in_flight: requests this gateway has on replicas.
        offered_requests: counter: requests that came, refused ones included: they are demand too.
        offered_work: counter: their work.
        offered_work_squared: counter: the sum of their works' squares: how much chance there is in `offered_work`.
        dispatched_work: counter: work of the requests sent to replicas.
        refused_requests: counter: requests refused by admission.
        prefill_s: counter: seconds of prefill this gateway has given to replicas.
        occupancy: share of the replicas' learned limits that is taken by all gateways' requests, 0 to 1; 1 without any.
        replicas: replicas this gateway may send to.
        engine_waiting_tokens: prompt tokens not yet prefilled in all those replicas, as last reported: the same sum in
            every gateway.
        engine_wait_s: seconds of prefill ahead on the replica where it is least; 0 where not every replica reports.
        kv_usage: share of the KV cache in use, the mean of the replicas that report; 0: none does.
    """

    model: str
    waiting_requests: int = 0
    held_requests: int = 0
    waiting_work: float = 0.0
    in_flight: int = 0
    offered_requests: int = 0
    offered_work: float = 0.0
    offered_work_squared: float = 0.0
    dispatched_work: float = 0.0
    refused_requests: int = 0
    prefill_s: float = 0.0
    occupancy: float = 0.0
    replicas: int = 0
    engine_waiting_tokens: int = 0
    engine_wait_s: float = 0.0
    kv_usage: float = 0.0


@dataclass(frozen=True, slots=True)
class GatewayLoad:
    """All models of one gateway at one moment.

    Attributes:
        gateway_id: unique for one life of one gateway process.
        sequence: grows by one with each that the gateway makes.
        models: in no order.
    """

    gateway_id: str
    sequence: int
    models: tuple[ModelLoad, ...]
