"""The state of a model's autoscaling, as gateways get it for their metrics."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScalingView:
    """One model's autoscaling as of the last decision.

    Attributes:
        target: replicas asked for.
        maximum: most replicas that may be asked for.
        queue_s: seconds of work waiting.
        load_replicas: replicas that the present load keeps busy.
    """

    target: int
    maximum: int
    queue_s: float
    load_replicas: float
