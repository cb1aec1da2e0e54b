"""The README's table of metrics is what the code exports."""

from random import Random

from cluster.spec.gateway_spec import GatewaySpec
from router.http.access_control.auth import OpenAccess
from router.http.data_plane.data_plane import DataPlane
from router.http.pages.admin_pages import collectors
from tests.metrics_table import DocumentedMetric, documented_metrics


def test_every_metric_is_in_the_readme_and_no_other() -> None:
    """Name, type, labels and help text of each metric stand in the table, word for word."""
    plane = DataPlane(GatewaySpec(), OpenAccess(), gateway_id="g", credential="", rng=Random(0), now_s=float)
    exported = [
        DocumentedMetric(
            family.name + ("_total" if family.type == "counter" else ""),
            family.type,
            tuple(family._labelnames),  # type: ignore[attr-defined]  # where the client library keeps them
            family.documentation,
        )
        for collector in collectors(plane)
        for family in collector.collect()
    ]
    assert documented_metrics() == {metric.name: metric for metric in exported}
