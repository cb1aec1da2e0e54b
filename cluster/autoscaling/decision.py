"""A scaling decision with its reasons, and the history of the last decisions."""

from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from cluster.autoscaling.metrics.metrics import FleetMetrics


@dataclass(frozen=True, slots=True)
class ScalingDecision:
    """The number of replicas that a model is to have, with reasons.

    Attributes:
        at_s: when it was decided, monotonic seconds.
        target: replicas asked for from now on.
        previous: replicas asked for before.
        reasons: reasons in words, the weightiest first.
        metrics: the metrics it was decided on.
        signals: values derived from the metrics, by name; units are in the names.
    """

    at_s: float
    target: int
    previous: int
    reasons: tuple[str, ...]
    metrics: FleetMetrics
    signals: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive decisions that kept the target, or one decision that changed it.

    Attributes:
        first: the first decision.
        last: the last decision.
        count: number of decisions.
    """

    first: ScalingDecision
    last: ScalingDecision
    count: int


class DecisionHistory:
    """The last decisions; consecutive ones that keep the target take one place together.

    Args:
        places: number of stretches kept.
    """

    def __init__(self, places: int = 256) -> None:
        self._stretches: deque[Stretch] = deque(maxlen=places)

    def __len__(self) -> int:
        return len(self._stretches)

    def __iter__(self) -> Iterator[Stretch]:
        """Yield the stretches, oldest first."""
        return iter(self._stretches)

    @property
    def last(self) -> ScalingDecision | None:
        """The last decision; None if there was none yet."""
        return self._stretches[-1].last if self._stretches else None

    def add(self, decision: ScalingDecision) -> None:
        """Add a decision."""
        if self._stretches:
            last = self._stretches[-1]
            if decision.target == decision.previous == last.last.target == last.last.previous:
                self._stretches[-1] = replace(last, last=decision, count=last.count + 1)
                return
        self._stretches.append(Stretch(decision, decision, 1))

    def rows(self) -> list[dict[str, Any]]:
        """Return the history as plain JSON values, newest first, for `rackserve status`."""
        return [
            {
                "from_s": stretch.first.at_s,
                "until_s": stretch.last.at_s,
                "decisions": stretch.count,
                "previous": stretch.first.previous,
                "target": stretch.last.target,
                "reasons": list(stretch.last.reasons),
                "signals": stretch.last.signals,
                "metrics": {
                    **asdict(stretch.last.metrics),
                    "start_durations_s": list(stretch.last.metrics.start_durations_s),
                },
            }
            for stretch in reversed(self._stretches)
        ]
