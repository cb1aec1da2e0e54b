"""`rackserve status` shows the autoscaler's present decision and the last changes, with reasons and inputs."""

from typing import Any

from rich.console import Console

from cluster.autoscaling.autoscaler import Autoscaler
from cluster.autoscaling.metrics.figures import GatewayFigures
from cluster.autoscaling.model_autoscaler import ModelAutoscaler
from cluster.autoscaling.targets import AutoscalingTargets
from deployments.commands.status.scaling_table import SHOWN, print_scaling, starving_pools


def test_the_present_decision_and_the_last_changes_are_shown() -> None:
    """Of a model that went from zero to one and back, in words: when, how many, why, and what waited."""
    autoscaler = ModelAutoscaler(
        Autoscaler(AutoscalingTargets(min_replicas=0, max_replicas=3, scale_to_zero_after_s=30.0)), 0
    )
    for step in range(400):
        now_s = step * 0.5
        held = 2 if step == 20 else 0
        figures = GatewayFigures(waiting_requests=held, waiting_work=100.0 * held)
        autoscaler.figures.hear_gateway("g", figures, now_s, now_s)
        autoscaler.decide(now_s)
    now_s = 200.0
    rows = [
        {**row, "pool": "", "from_ago_s": now_s - row["from_s"], "ago_s": now_s - row["until_s"]}
        for row in autoscaler.history.rows()
    ]
    console = Console(width=200)
    with console.capture() as capture:
        print_scaling({"chat": {"decisions": rows}, "fixed": {"decisions": []}}, console)
    assert capture.get().count("chat") == 3 <= SHOWN
    now, down, up = [line for line in capture.get().splitlines() if "chat" in line]
    assert "0" in now
    assert "for 159 s" in now or "for 3 min" in now
    assert "1 → 0" in down
    assert "there has been nothing to do" in down
    assert "0 → 1" in up
    assert "2 requests are held and no replica is ready" in up
    assert "fixed" not in capture.get()


def decision(pool: str, target: int, ready: int, ago_s: float, reason: str) -> dict[str, Any]:
    """Return a row as the actor tells it: the last decision of a pool that was to have one replica before."""
    return {
        "pool": pool,
        "previous": 1,
        "target": target,
        "decisions": 1,
        "reasons": [reason],
        "metrics": {"ready": ready, "waiting_requests": 3},
        "signals": {"queue_s": 2.0, "load_replicas": 3.0, "lead_s": 60.0},
        "from_ago_s": ago_s,
        "ago_s": 0.0,
    }


def test_a_pool_that_starves_says_so() -> None:
    """One at its maximum with more work, and one whose replicas are long overdue; not one that is only starting."""
    rows = [
        decision("full", 1, 1, 5.0, "no more than 1 are allowed"),
        decision("late", 4, 1, 600.0, "as needed"),
        decision("starting", 4, 1, 60.0, "as needed"),
        decision("well", 4, 4, 600.0, "as needed"),
    ]
    models: dict[str, dict[str, Any]] = {"chat": {"decisions": rows}, "fixed": {"decisions": []}}
    assert list(starving_pools(models)) == [
        "chat:full starves: no more than 1 are allowed",
        "chat:late starves: 4 were asked for 10 min ago and 1 is ready",
    ]
    console = Console(width=200)
    with console.capture() as capture:
        print_scaling(models, console)
    assert [f"chat:{row['pool']}" in capture.get() for row in rows] == [True] * 4
