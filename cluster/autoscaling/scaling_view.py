"""The state of the autoscaling of a model's pool, as gateways get it for their metrics."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScalingView:
    """One pool's autoscaling as of the last decision.

    Attributes:
        target: replicas asked for.
        maximum: most replicas that may be asked for.
        queue_s: seconds of work waiting.
        load_replicas: replicas that the present load keeps busy.
        pool: the pool it is the state of; "": the model has one pool without a name.
    """

    target: int
    maximum: int
    queue_s: float
    load_replicas: float
    pool: str = ""
