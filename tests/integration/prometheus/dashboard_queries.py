"""The queries of the chart's dashboards, as Grafana would send them for all models."""

import json
import re

from tests.integration.prometheus.programs import CHART

RATE_INTERVAL = "15s"
DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))


def queries() -> dict[str, str]:
    """Return every query, by dashboard, panel and letter."""
    found = {}
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                expression = target["expr"].replace("$__rate_interval", RATE_INTERVAL).replace("$model", ".*")
                assert "$" not in expression, f"a variable nobody fills in: {expression}"
                found[f"{file.stem} / {panel['title']} / {target['refId']}"] = expression
    return found


def metrics_in(expression: str) -> set[str]:
    """Return the names of our metrics in a query, as the table of metrics has them."""
    names = re.findall(r"\brackserve_\w+", expression)
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}
