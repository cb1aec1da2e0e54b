"""The chart's dashboards are what `helm/dashboards.py` writes, and ask for metrics that exist."""

import json
import runpy

from tests.integration.prometheus.dashboard_queries import DASHBOARDS, metrics_in, queries
from tests.integration.prometheus.programs import ROOT
from tests.metrics_table import documented_metrics


def test_the_files_are_those_written() -> None:
    """`python helm/dashboards.py` would change nothing."""
    written = runpy.run_path(str(ROOT / "helm" / "dashboards.py"))
    assert [file.stem for file in DASHBOARDS] == sorted(written["DASHBOARDS"])
    for file in DASHBOARDS:
        assert file.read_text() == written["text"](file.stem), f"{file.name}: run helm/dashboards.py"


def test_queries_ask_only_for_metrics_that_exist() -> None:
    """Every metric in a query is one of the documented ones."""
    documented = documented_metrics()
    for name, expression in queries().items():
        assert metrics_in(expression), name
        for metric in metrics_in(expression):
            assert metric in documented, (name, metric)


def test_every_metric_is_on_a_dashboard() -> None:
    """A number nobody can see is one nobody needs."""
    shown = {metric for expression in queries().values() for metric in metrics_in(expression)}
    hidden = documented_metrics().keys() - shown
    assert not hidden, f"on no dashboard: {sorted(hidden)}"


def test_panels_do_not_overlap() -> None:
    """No two panels of a dashboard share a place or an id, and each has a title of its own."""
    for file in DASHBOARDS:
        panels = json.loads(file.read_text())["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        assert len({panel["title"] for panel in panels}) == len(panels)
        assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
