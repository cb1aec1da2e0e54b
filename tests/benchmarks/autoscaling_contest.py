"""Who scales in `bench-autoscaling`, what came of it, and the bars."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from rich.table import Table

from cluster.autoscaling.autoscaler import Autoscaler
from deployments.simulator.autoscaled_fleet import FleetResult, run_fleet
from deployments.simulator.serve_default import ServeDefault, ServeSettings
from tests.benchmarks.autoscaling_cases import MOST, SETTINGS, SETTLED_S, TARGETS, Case
from tests.benchmarks.bars import Bar

OURS = "rackserve"
UNTOLD = "rackserve_untold"
FIXED = "fixed_peak"
SERVE = "serve_tuned"
SERVE_DEFAULT = "serve_target_2"
STEP_AT_S = 600.0
_TEN_MINUTES_S = 600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one load.

    Attributes:
        case: the load.
        results: by contestant.
    """

    case: Case
    results: Mapping[str, FleetResult]


def contest(case: Case, say: Callable[[str], None], *, short: bool) -> Outcome:
    """Run every contestant on a load. All may go to `MOST` times the fixed fleet and begin with the same replicas."""
    most = MOST * case.peak_replicas
    ours = replace(TARGETS, max_replicas=most)
    serve = ServeSettings(max_replicas=most, target_ongoing_requests=case.ongoing_in_time)
    settings = replace(SETTINGS, first_replicas=case.first_replicas)
    results = {FIXED: case.fixed}
    say(f"{case.name}: {OURS}")
    results[OURS] = run_fleet(case.requests, Autoscaler(replace(ours, first_work_per_s=case.work_per_s)), settings)
    say(f"{case.name}: {SERVE}")
    results[SERVE] = run_fleet(case.requests, ServeDefault(serve), settings)
    if not short:
        say(f"{case.name}: {UNTOLD}")
        results[UNTOLD] = run_fleet(case.requests, Autoscaler(ours), settings)
        say(f"{case.name}: {SERVE_DEFAULT}")
        default = ServeSettings(max_replicas=most)
        results[SERVE_DEFAULT] = run_fleet(case.requests, ServeDefault(default), settings)
    return Outcome(case, results)


def figures(outcome: Outcome) -> dict[str, Any]:
    """Return a load's figures as JSON values."""
    case = outcome.case
    return {
        "requests": len(case.requests),
        "slo_ttft_s": case.slo_s,
        "first_replicas": case.first_replicas,
        "peak_replicas": case.peak_replicas,
        "replica_work_per_s": case.work_per_s,
        "serve_tuned_target_ongoing_requests": case.ongoing_in_time,
        "contestants": {
            name: {
                "slo_share": result.slo_share(case.slo_s),
                "gpu_hours": result.gpu_hours,
                "gpu_hours_over_fixed": result.gpu_hours / case.fixed.gpu_hours,
                "ttft_p50_s": result.ttft_quantile_s(0.5),
                "ttft_p99_s": result.ttft_quantile_s(0.99),
                "refused": result.refused,
                "changes": len(result.targets),
                "most_changes_in_10_min": most_changes(result),
            }
            for name, result in outcome.results.items()
        },
    }


def most_changes(result: FleetResult) -> int:
    """Return the most changes of the target in any ten minutes, once the run has settled."""
    times_s = [at_s for at_s, _ in result.targets if at_s >= SETTLED_S]
    return max((sum(at_s <= other < at_s + _TEN_MINUTES_S for other in times_s) for at_s in times_s), default=0)


def reaction_s(result: FleetResult, first_replicas: int) -> float:
    """Return how long after the step the target was first raised; infinite: never."""
    before = max((change for change in result.targets if change[0] < STEP_AT_S), default=(0.0, first_replicas))[1]
    return next((at_s for at_s, target in result.targets if at_s >= STEP_AT_S and target > before), inf) - STEP_AT_S


def table(outcome: Outcome) -> Table:
    """Return a load's table."""
    case = outcome.case
    title = f"{case.name}: {len(case.requests)} requests, first token within {case.slo_s:g} s"
    shown = Table(title=title, title_justify="left")
    shown.add_column("autoscaler")
    for name in ("in time", "GPU-hours", "of fixed", "TTFT p50", "p99", "refused", "changes"):
        shown.add_column(name, justify="right")
    for name, result in outcome.results.items():
        shown.add_row(
            name,
            f"{result.slo_share(case.slo_s):.4f}",
            f"{result.gpu_hours:.2f}",
            f"{result.gpu_hours / case.fixed.gpu_hours:.3f}",
            f"{result.ttft_quantile_s(0.5):.2f} s",
            f"{result.ttft_quantile_s(0.99):.2f} s",
            str(sum(result.refused.values())),
            str(len(result.targets)),
        )
    return shown


def bars(outcome: Outcome) -> list[Bar]:
    """Return what a load promises."""
    case = outcome.case
    ours, serve, fixed = (outcome.results[name] for name in (OURS, SERVE, FIXED))
    name = case.name
    if name == "constant":
        return [Bar("autoscaling_constant_changes_in_10_min", most_changes(ours), "<=", 1)]
    found = [
        Bar(f"autoscaling_{name}_in_time_over_serve", ours.slo_share(case.slo_s) - serve.slo_share(case.slo_s), ">", 0),
        Bar(f"autoscaling_{name}_gpu_hours_of_serve", ours.gpu_hours / serve.gpu_hours, "<", 1),
    ]
    if name == "sine_day":
        share = ours.slo_share(case.slo_s) / fixed.slo_share(case.slo_s)
        found.append(Bar("autoscaling_sine_day_in_time_of_fixed", share, ">=", 0.97))
        found.append(Bar("autoscaling_sine_day_gpu_hours_of_fixed", ours.gpu_hours / fixed.gpu_hours, "<=", 0.6))
    return found
