"""What an operator asks of the autoscaler, for one model."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AutoscalingTargets:
    """Bounds and aims.

    Attributes:
        min_replicas: at least so many, 0 allowed.
        max_replicas: at most so many, at least 1.
        target_queue_s: seconds of work that may wait on a replica, on average, before more replicas are needed.
        headroom: spare replicas for chance, by the square root of the work there is; see `staffing`.
        scale_down_after_s: replicas are given back once they were not needed for so long.
        scale_to_zero_after_s: the last one, once there was nothing at all to do for so long.
        longest_wait_s: requests wait no longer than this (admission refuses them), so no more work can pile up.
        first_cold_start_s: how long a start is thought to take before one has been seen.
        first_work_per_s: what a replica is thought to get done at its limit, in work a second, before it has been seen
            there: from a plan or a load test. 0: not known; then it is found out when requests first have to wait.
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

    def __post_init__(self) -> None:
        if not 0 <= self.min_replicas <= self.max_replicas or self.max_replicas < 1:
            raise ValueError(f"replicas from {self.min_replicas} to {self.max_replicas} make no range")
        if self.headroom < 0:
            raise ValueError(f"a headroom of {self.headroom} is below 0")

    def bounded(self, replicas: int) -> int:
        """Return `replicas` within the bounds."""
        return max(self.min_replicas, min(self.max_replicas, replicas))
