"""Ray's settings for serving."""

from pathlib import Path

from cluster.ray_settings import DEATH_TIMEOUTS, HEAD_AWAY, NODE_DEATH_SEEN_S, PACE


def test_a_node_that_answers_nothing_is_dead_within_the_bound() -> None:
    """Each check waits its time-out, and the next begins a period later."""
    seconds = {name.removeprefix("RAY_health_check_"): int(value) / 1000 for name, value in DEATH_TIMEOUTS.items()}
    checks = int(DEATH_TIMEOUTS["RAY_health_check_failure_threshold"])
    assert checks * (seconds["timeout_ms"] + seconds["period_ms"]) <= NODE_DEATH_SEEN_S


def test_the_helm_charts_pods_have_them_too() -> None:
    """The template repeats them; this keeps it in step."""
    template = (Path(__file__).parents[3] / "helm/rackserve/templates/_pod.tpl").read_text()
    for name, value in {**DEATH_TIMEOUTS, **HEAD_AWAY, **PACE}.items():
        assert f'- name: {name}\n  value: "{value}"\n' in template
