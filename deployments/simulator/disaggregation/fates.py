"""What came of the requests of a run, and of the run as a whole."""

from dataclasses import dataclass, field

from deployments.simulator.disaggregation.prompts import PromptRequest


@dataclass(slots=True)
class RequestFate:
    """What came of one request. Times are seconds from the start of the run.

    Attributes:
        request: the request.
        at_s: when it came.
        counts: it is one of those that are measured.
        first_s: when its first token came; None: it has not.
        last_s: when its last token came; None: it has not.
        missed: it was refused, or one of its limits has passed.
        is_settled: nothing more is to be found out about it.
        apart: its prompt was computed at another replica than its answer.
        computed_tokens: tokens of its prompt that were computed, and not found in a cache.
    """

    request: PromptRequest
    at_s: float
    counts: bool
    first_s: float | None = None
    last_s: float | None = None
    missed: bool = False
    is_settled: bool = False
    apart: bool = False
    computed_tokens: int = 0

    @property
    def ttft_s(self) -> float | None:
        """Seconds to its first token; None: it has not come."""
        return None if self.first_s is None else self.first_s - self.at_s

    @property
    def tpot_s(self) -> float | None:
        """Mean seconds between its tokens; None: its last one has not come."""
        if self.first_s is None or self.last_s is None:
            return None
        return (self.last_s - self.first_s) / max(1, self.request.output_tokens - 1)

    @property
    def due_s(self) -> float:
        """Time by which its next limit passes: that of its first token, then that of its last."""
        limits = self.request.limits
        if self.first_s is None:
            return self.at_s + limits.ttft_s
        return self.first_s + limits.tpot_s * max(1, self.request.output_tokens - 1)


@dataclass(slots=True)
class FleetRun:
    """The results of a run.

    Attributes:
        fates: of all requests that came, in their order.
        gaps: seconds of an engine's step, in tenths of a millisecond, and how many tokens of running answers it
            brought.
        is_cut: it was ended early, as too many requests had missed their limits.
        seconds: length of the run.
        waited: requests that waited in the gateway.
        refused: requests that were refused.
        missed: measured requests that missed a limit.
        held_blocks: KV blocks that sequences still held at its end.
    """

    fates: list[RequestFate] = field(default_factory=list)
    gaps: dict[int, int] = field(default_factory=dict)
    is_cut: bool = False
    seconds: float = 0.0
    waited: int = 0
    refused: int = 0
    missed: int = 0
    held_blocks: int = 0

    @property
    def measured(self) -> list[RequestFate]:
        """The requests that are measured."""
        return [fate for fate in self.fates if fate.counts]

    @property
    def mean_ttft_s(self) -> float:
        """Mean seconds to the first token of measured requests that got one; not a number if none did."""
        found = [fate.ttft_s for fate in self.measured if fate.ttft_s is not None]
        return sum(found) / len(found) if found else float("nan")

    def gap_s(self, share: float) -> float:
        """Return the seconds between two tokens of an answer that `share` of all gaps did not exceed."""
        left = share * sum(self.gaps.values())
        for tenths, tokens in sorted(self.gaps.items()):
            left -= tokens
            if left <= 0:
                return tenths / 1e4
        return float("nan")
