"""What gateways are told of how a model is scaled, for their metrics."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScalingView:
    """One model, as of the last decision.

    Attributes:
        target: replicas asked for.
        maximum: replicas that may be asked for at most.
        queue_s: seconds of work waiting.
        load_replicas: replicas the present load takes.
    """

    target: int
    maximum: int
    queue_s: float
    load_replicas: float
