"""The chart's alert rules, each exercised with promtool: it fires when it should, and not when it should not."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.prometheus.alert_cases import CASES, AlertCase
from tests.integration.prometheus.programs import CHART, program
from tests.metrics_table import documented_metrics

RULES = CHART / "alerts" / "rackserve.yaml"
ALL: list[dict[str, Any]] = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in ALL if "alert" in rule}
RECORDED = {rule["record"] for rule in ALL if "record" in rule}
RUNBOOK_WORDS = 40
"""Fewer are no paragraph that helps somebody at night."""


def test_every_alert_has_a_case_and_a_runbook() -> None:
    """Each alert is tested, has a severity, says what happens and what to do."""
    assert {case.alert for case in CASES} == set(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}, name
        assert len(rule["annotations"]["runbook"].split()) >= RUNBOOK_WORDS, name
        assert rule["annotations"]["summary"].endswith("."), name


def test_alerts_ask_only_for_metrics_that_exist() -> None:
    """Every metric in a rule is one of the documented ones, or one that another rule records."""
    documented = documented_metrics()
    for rule in ALL:
        for metric in re.findall(r"\brackserve[_:][\w:]+", rule["expr"]):
            assert metric in RECORDED or metric.removesuffix("_bucket") in documented, (rule, metric)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_alert_fires_and_is_quiet(case: AlertCase, tmp_path: Path) -> None:
    """Promtool agrees with both halves of the case."""
    rule = ALERTS[case.alert]
    fires = [{
        "exp_labels": {"severity": rule["labels"]["severity"], **case.labels},
        "exp_annotations": {key: _rendered(text, case.labels) for key, text in rule["annotations"].items()},
    }]  # fmt: skip
    tests = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [_test(case, case.fires, fires), _test(case, case.quiet, [])],
    }
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump(tests))
    ended = subprocess.run(
        [program("promtool"), "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def _test(case: AlertCase, series: Mapping[str, str], expected: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": case.at, "alertname": case.alert, "exp_alerts": expected}],
    }


def _rendered(text: str, labels: Mapping[str, str]) -> str:
    pool = labels.get("pool", "")
    text = text.replace("{{ with $labels.pool }}:{{ . }}{{ end }}", f":{pool}" if pool else "")
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels[found[1]], text)
