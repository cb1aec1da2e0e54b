"""Who decides in `bench-disaggregation`, what came of it, and the bars."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Final

from rich.table import Table

from deployments.simulator.disaggregation.fates import FleetRun
from deployments.simulator.disaggregation.leg_dispatcher import LegDispatcher
from deployments.simulator.disaggregation.pools import MODEL, PooledFleet
from router.dispatch.dispatcher import Dispatcher
from router.flow_control.limits import WaitingRoom
from tests.benchmarks.bars import Bar
from tests.benchmarks.disaggregation.fixed_rule import ALWAYS, FixedRule
from tests.benchmarks.disaggregation.fleets import REPLICAS, STEPS, FleetPlan, one_pool, planned, two_pools
from tests.benchmarks.disaggregation.goodput import RATE_STEP, Goodput, goodput, is_within_limits
from tests.benchmarks.disaggregation.workloads import CHANGING, MIXED, Workload

ONE: Final = "one_pool"
APART: Final = "always_apart"
ABOVE: Final = "apart_above"
OURS: Final = "rackserve"
ABOVE_IN_OURS: Final = "apart_above_in_ours"
"""The best fixed number in the fleet that was chosen for ours: shown, and no bar."""
RULES: Final = (ONE, APART, ABOVE)
"""Those that ours is held against."""
_ROOM: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Way:
    """One way to serve a workload.

    Attributes:
        name: the contestant's.
        detail: what was chosen for it.
        fleet: the replicas.
        dispatcher: makes its dispatcher.
    """

    name: str
    detail: str
    fleet: PooledFleet
    dispatcher: Callable[[], LegDispatcher]


@dataclass(frozen=True, slots=True)
class Reached:
    """A way, and its goodput."""

    way: Way
    goodput: Goodput


@dataclass(frozen=True, slots=True)
class Contest:
    """What came of one workload.

    Attributes:
        load: the workload.
        plan: what the planner says of it.
        reached: the best way of each contestant, by name.
    """

    load: Workload
    plan: FleetPlan
    reached: Mapping[str, Reached]

    def per_s(self, name: str) -> float:
        """Return a contestant's goodput, requests a second of the fleet; 0 for one that does not take part."""
        return self.reached[name].goodput.per_s if name in self.reached else 0.0

    @property
    def best_rule(self) -> str:
        """Name of the best of those that ours is held against."""
        return max((name for name in RULES if name in self.reached), key=self.per_s)


def contest(load: Workload, rehearsed: Workload, say: Callable[[str], None], seed: int) -> Contest:
    """Find every contestant's goodput on a workload.

    Args:
        load: the workload.
        rehearsed: a load like it, on which the fleet for ours is chosen.
        say: shows progress.
        seed: of the generators that break ties.
    """
    plan = planned(load)
    guess = plan.one_per_s
    reached: dict[str, Reached] = {}

    def run(name: str, ways: Sequence[Way]) -> None:
        nonlocal guess
        reached[name] = best = _best(load, ways, guess)
        guess = best.goodput.per_s or guess
        say(f"{load.name}: {name} ({best.way.detail}) {best.goodput.per_s:.2f} requests/s")

    for name, ways in _rules(load, plan, seed).items():
        run(name, ways)
    ours = _best(rehearsed, _fleets_for_ours(plan, seed), guess).way
    run(OURS, [ours])
    if len(ours.fleet.pools) > 1:
        run(ABOVE_IN_OURS, [_above(number, ours.detail, ours.fleet, seed) for number in (ALWAYS, *load.thresholds)])
    return Contest(load, plan, reached)


def _rules(load: Workload, plan: FleetPlan, seed: int) -> dict[str, Sequence[Way]]:
    apart = two_pools(plan.prefill)
    ratio = f"{plan.prefill} + {plan.decode}"
    ways: dict[str, Sequence[Way]] = {
        ONE: _one_pool(seed),
        APART: [Way(APART, ratio, apart, partial(FixedRule, ALWAYS, seed))],
    }
    if load.thresholds:
        ways[ABOVE] = [_above(number, ratio, apart, seed) for number in load.thresholds]
    return ways


def _one_pool(seed: int) -> Sequence[Way]:
    return [_live(ONE, f"steps of {step}", one_pool(step), seed) for step in STEPS]


def _fleets_for_ours(plan: FleetPlan, seed: int) -> Sequence[Way]:
    """Return the fleets to choose from, what the planner says first: two pools in every ratio, and one pool."""
    ratios = sorted(range(1, REPLICAS), key=lambda prefill: abs(prefill - plan.prefill))
    apart = [_live(OURS, f"{prefill} + {REPLICAS - prefill}", two_pools(prefill), seed) for prefill in ratios]
    return [*apart, *_one_pool(seed)] if plan.is_apart else [*_one_pool(seed), *apart]


def live_dispatcher(seed: int) -> Dispatcher:
    """Return the dispatcher as a gateway has it, with a waiting room that is never full."""
    rng = Random(seed)
    return Dispatcher(MODEL, "expected_ttft", rng=rng, room=WaitingRoom(max_requests=_ROOM))


def _live(name: str, detail: str, fleet: PooledFleet, seed: int) -> Way:
    return Way(name, detail, fleet, partial(live_dispatcher, seed))


def _above(number: int, ratio: str, fleet: PooledFleet, seed: int) -> Way:
    return Way(ABOVE, f"{ratio}, above {number}", fleet, partial(FixedRule, number, seed))


def _best(load: Workload, ways: Sequence[Way], guess_per_s: float) -> Reached:
    """Return the best of several ways. One that fails a step above the best so far is tried no further."""
    best: Reached | None = None
    for way in ways:
        if best is not None and best.goodput.per_s:
            next_per_s = best.goodput.per_s * RATE_STEP
            if not is_within_limits(load, way.fleet, way.dispatcher, next_per_s):
                continue
            guess_per_s = next_per_s
        found = goodput(load, way.fleet, way.dispatcher, guess_per_s)
        if best is None or found.per_s > best.goodput.per_s:
            best = Reached(way, found)
    if best is None:
        raise ValueError("a contestant has no way to serve the workload")
    return best


def figures(outcome: Contest) -> dict[str, Any]:
    """Return a workload's figures as JSON values."""
    load, plan = outcome.load, outcome.plan
    work = load.work
    return {
        "requests": len(load.requests),
        "mean_prompt_tokens": work.input_tokens,
        "mean_output_tokens": work.output_tokens,
        "hit_ratio_of_one_infinite_cache": work.prefix_hit,
        "limits": sorted({(r.kind, r.limits.ttft_s, r.limits.tpot_s) for r in load.requests}),
        "planner": {
            "one_pool_per_s": plan.one_per_s,
            "two_pools_per_s": plan.apart_per_s,
            "prefill_replicas": plan.prefill,
            "decode_replicas": plan.decode,
            "chooses_two_pools": plan.is_apart,
        },
        "contestants": {name: _reached(each) for name, each in outcome.reached.items()},
    }


def _reached(each: Reached) -> dict[str, Any]:
    run = each.goodput.run
    found: dict[str, Any] = {
        "chosen": each.way.detail,
        "goodput_per_s": each.goodput.per_s,
        "goodput_per_s_per_gpu": each.goodput.per_s / each.way.fleet.gpus,
        "rates_tried": each.goodput.tried,
    }
    if run is not None:
        found |= {
            "mean_ttft_s": run.mean_ttft_s,
            "p99_gap_s": run.gap_s(0.99),
            "share_in_time": 1 - run.missed / len(run.measured),
            "share_apart": apart_share(run),
            "refused": run.refused,
            "by_kind": by_kind(run),
        }
    return found


def apart_share(run: FleetRun) -> float:
    """Return the share of measured requests whose prompt was computed apart, 0 to 1."""
    measured = run.measured
    return sum(fate.apart for fate in measured) / len(measured)


def by_kind(run: FleetRun) -> dict[str, dict[str, float]]:
    """Return for each kind of work the share of its requests that were late at their first token, slow, and apart."""
    found: dict[str, dict[str, float]] = {}
    for kind in sorted({fate.request.kind for fate in run.measured}):
        fates = [fate for fate in run.measured if fate.request.kind == kind]
        late = sum(fate.ttft_s is None or fate.ttft_s > fate.request.limits.ttft_s for fate in fates)
        slow = sum(fate.tpot_s is None or fate.tpot_s > fate.request.limits.tpot_s for fate in fates)
        apart = sum(fate.apart for fate in fates)
        found[kind] = {"late": late / len(fates), "slow": slow / len(fates), "apart": apart / len(fates)}
    return found


def table(outcomes: Sequence[Contest]) -> Table:
    """Return the table of all workloads."""
    shown = Table(title="goodput: requests/s per GPU of which 95 % meet their limits", title_justify="left")
    shown.add_column("workload")
    shown.add_column("planner")
    for name in (*RULES, OURS):
        shown.add_column(name, justify="right")
    for name in ("of the best", "fleet", "mean TTFT", "p99 gap", "apart", "best number there"):
        shown.add_column(name, justify="right")
    for outcome in outcomes:
        plan, best = outcome.plan, outcome.best_rule
        row = [outcome.load.name, f"{plan.prefill} + {plan.decode}" if plan.is_apart else "one pool"]
        for name in (*RULES, OURS):
            each = outcome.reached.get(name)
            row.append(f"{each.goodput.per_s / each.way.fleet.gpus:.3f}" if each else "")
        row.append(f"{outcome.per_s(OURS) / outcome.per_s(best):.3f}" if outcome.per_s(best) else "")
        ours, there = outcome.reached[OURS], outcome.per_s(ABOVE_IN_OURS)
        row.append(ours.way.detail)
        run = ours.goodput.run
        if run is not None:
            row += [f"{run.mean_ttft_s:.2f} s", f"{1e3 * run.gap_s(0.99):.0f} ms", f"{apart_share(run):.0%}"]
            row.append(f"{there / outcome.per_s(OURS):.3f} of ours" if there else "")
        shown.add_row(*row)
    return shown


def bars(outcome: Contest) -> list[Bar]:
    """Return what a workload promises."""
    name, ours, best = outcome.load.name, outcome.per_s(OURS), outcome.per_s(outcome.best_rule)
    found = [Bar(f"disaggregation_{name}_of_best", ours / best if best else float("nan"), ">=", 0.97)]
    if name == MIXED:
        for rule in RULES:
            share = ours / outcome.per_s(rule) if outcome.per_s(rule) else float("nan")
            found.append(Bar(f"disaggregation_{name}_of_{rule}", share, ">=", 1.15))
    if name == CHANGING:
        found = [Bar(f"disaggregation_{name}_of_best", ours / best if best else float("nan"), ">=", 1.1)]
    return found
