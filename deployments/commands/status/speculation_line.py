"""A line on what speculative decoding brings to a model's replicas, for `rackserve status` and `rackserve top`."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final

from cluster.spec.model_spec import label_of
from router.replicas.speculation_report import SpeculationReport

SLOWER: Final = 0.95
"""Speed-up below which it counts as making answers slower; above it, noise can be the reason."""
SHOWN_POSITIONS: Final = 6
"""Places in a draft whose share of right tokens is shown."""
ADVICE: Final = "fewer `tokens` in `speculative` help, or leaving it out"


def speculation_line(label: str, reports: Sequence[SpeculationReport]) -> str:
    """Return the line.

    Args:
        label: what people call the replicas: the model's name, or `MODEL:POOL`.
        reports: what the replicas report, one or more.
    """
    drafts, drafted = sum(report.drafts for report in reports), sum(report.draft_tokens for report in reports)
    if not drafts:
        return f"speculation {label}: no draft has been verified yet"
    by_place = [
        sum(counts) for counts in zip_longest(*(report.accepted_by_position for report in reports), fillvalue=0)
    ]
    shown = " ".join(f"{count / drafts:.0%}" for count in by_place[:SHOWN_POSITIONS])
    shown += " …" if len(by_place) > SHOWN_POSITIONS else ""
    speedup, per_step = speedup_of(reports), _mean([report.tokens_per_step for report in reports])
    brings = [f"{speedup:.2f} × none" if speedup else "speed-up not known"]  # noqa: RUF001 - its sign
    brings += [f"{per_step:.1f} tokens a step"] if per_step else []
    return f"speculation {label}: {', '.join(brings)}, {sum(by_place) / drafted:.0%} of drafts right ({shown})"


def speedup_of(reports: Sequence[SpeculationReport]) -> float:
    """Return the mean speed-up of the replicas that know theirs; 0: none does."""
    return _mean([report.speedup for report in reports])


def is_slower(reports: Sequence[SpeculationReport]) -> bool:
    """Tell whether answers come slower than they would without drafts."""
    return 0 < speedup_of(reports) < SLOWER


def speculation_lines(models: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each pool that speculates, and one more where that makes answers slower.

    Args:
        models: the models of an application in the report of `rackserve status --json`, by name.
    """
    for name, model in models.items():
        of_pool: dict[str, list[SpeculationReport]] = {}
        for replica in model["replicas"]:
            told = (replica["report"] or {}).get("speculation")
            if told is not None:
                of_pool.setdefault(label_of(name, replica.get("pool", "")), []).append(SpeculationReport(**told))
        for label, reports in of_pool.items():
            yield speculation_line(label, reports)
            if is_slower(reports):
                yield f"{label} is slower with speculative decoding than without: {ADVICE}"


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if value]
    return sum(known) / len(known) if known else 0.0
