"""An operator's bounds and aims for the autoscaling of one model."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AutoscalingTargets:
    """Bounds and aims.

    Attributes:
        min_replicas: fewest replicas, 0 or more.
        max_replicas: most replicas, 1 or more.
        target_queue_s: seconds of work that may wait on a replica, on average, before more replicas are needed.
        headroom: spare replicas for random peaks, as a multiple of the square root of the load; see `staffing`.
        scale_down_after_s: seconds without need for a replica after which it is given back; with an objective, two
            usual starts if that is less.
        scale_to_zero_after_s: seconds without any work after which the last replica is given back.
        longest_wait_s: longest wait of a request, seconds: flow control refuses those that would wait longer, which
            bounds the work that can pile up.
        first_cold_start_s: seconds a start is assumed to take until one has been measured.
        first_work_per_s: work a second that a replica is assumed to complete at its limit until that has been measured:
            from a plan or a load test. 0: not known, then measured when requests first have to wait.
        slo_share: share of the requests that is to have its latencies; replicas are added while fewer have. 0: there is
            no such objective.
    """

    min_replicas: int = 1
    max_replicas: int = 1
    target_queue_s: float = 1.0
    headroom: float = 0.4
    scale_down_after_s: float = 300.0
    scale_to_zero_after_s: float = 300.0
    longest_wait_s: float = 60.0
    first_cold_start_s: float = 60.0
    first_work_per_s: float = 0.0
    slo_share: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.min_replicas <= self.max_replicas or self.max_replicas < 1:
            raise ValueError(f"replicas from {self.min_replicas} to {self.max_replicas} make no range")
        if self.headroom < 0:
            raise ValueError(f"a headroom of {self.headroom} is below 0")

    def bounded(self, replicas: int) -> int:
        """Return `replicas` within the bounds."""
        return max(self.min_replicas, min(self.max_replicas, replicas))
