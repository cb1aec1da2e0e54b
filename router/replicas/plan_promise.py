"""What a plan promised of a replica, and how much of it the replica keeps."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from router.replicas.load_report import LoadReport
from router.replicas.start_phases import StartPhases

KEPT: Final = 0.8
"""Share of what was promised below which the plan does not hold: as much as plans leave free (`limits.load`)."""


class Promised(StrEnum):
    """What can be promised: the values of the label `what`."""

    PREFILL = "prefill"
    DECODE = "decode"
    KV_TOKENS = "kv_tokens"
    START = "start"


@dataclass(frozen=True, slots=True)
class PlanPromise:
    """What was promised of a replica, or of one of its data-parallel ranks; 0: nothing was.

    Attributes:
        prefill_tokens_per_s: prompt tokens a second, in full steps.
        decode_tokens_per_s: tokens a second that `sequences` generate in steps without prompts.
        sequences: sequences that are decoded at once where these rates hold; 0: any number.
        kv_tokens: tokens that its KV cache holds.
        start_s: seconds that its engine takes to start.
    """

    prefill_tokens_per_s: float = 0.0
    decode_tokens_per_s: float = 0.0
    sequences: float = 0.0
    kv_tokens: float = 0.0
    start_s: float = 0.0

    def of_rank(self, ranks: int) -> "PlanPromise":
        """Return what was promised of each of the replica's ranks, which start together."""
        return replace(
            self,
            prefill_tokens_per_s=self.prefill_tokens_per_s / ranks,
            decode_tokens_per_s=self.decode_tokens_per_s / ranks,
            sequences=self.sequences / ranks,
            kv_tokens=self.kv_tokens / ranks,
        )


def kept(promise: PlanPromise, report: LoadReport | None, start: StartPhases | None) -> dict[Promised, float]:
    """Return what a replica does as a share of what was promised; below 1 it does less.

    What was not promised, or is not known yet, is left out. Steps with less in them than planned give fewer tokens a
    second, which says nothing against the replica: they count as 1 while they take no longer than a planned step.

    Args:
        promise: what was promised.
        report: the replica's last report.
        start: what its start went to.
    """
    found: dict[Promised, float] = {}
    steps = report.steps if report is not None else None
    if report is not None and steps is not None:
        prompts = _share(
            report.prefill_tokens_per_s, promise.prefill_tokens_per_s, steps.prompt_tokens, report.step_tokens
        )
        answers = _share(steps.decode_tokens_per_s, promise.decode_tokens_per_s, steps.sequences, promise.sequences)
        found = {what: share for what, share in ((Promised.PREFILL, prompts), (Promised.DECODE, answers)) if share}
    if report is not None and promise.kv_tokens and report.kv_capacity_tokens:
        found[Promised.KV_TOKENS] = report.kv_capacity_tokens / promise.kv_tokens
    if start is not None and promise.start_s and start.total_s > 0:
        found[Promised.START] = promise.start_s / start.total_s
    return found


def _share(tokens_per_s: float, promised: float, in_step: float, planned: float) -> float:
    """Return tokens a second as a share of those promised; 0: either is not known.

    Args:
        tokens_per_s: what the replica does.
        promised: what was promised.
        in_step: mean sequences or tokens of its steps.
        planned: those of the steps of which it was promised; 0: of any.
    """
    if not (tokens_per_s and promised):
        return 0.0
    share = tokens_per_s / promised
    if 0 < in_step < planned:
        return max(share, min(1.0, share * planned / in_step))
    return share
