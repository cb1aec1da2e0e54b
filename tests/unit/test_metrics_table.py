"""The README's table of metrics is what the code exports."""

import re
from pathlib import Path
from random import Random

from cluster.spec import GatewaySpec
from router.fleet import Fleet
from router.http.affinity_metrics import AffinityMetrics
from router.http.auth import OpenAccess
from router.http.data_plane import DataPlane
from router.http.flow_metrics import FlowMetrics

README = Path(__file__).parents[2] / "README.md"


def test_every_metric_is_in_the_readme_and_no_other() -> None:
    """Name, type and help text of each metric stand in the table, word for word."""
    plane = DataPlane(GatewaySpec(), Fleet(Random(0)), OpenAccess(), gateway_id="g", credential="", now_s=float)
    exported = {
        (family.name + ("_total" if family.type == "counter" else ""), family.type, family.documentation)
        for collector in (plane.meters, FlowMetrics(plane.flow, plane.meters), AffinityMetrics(lambda: plane.outlooks))
        for family in collector.collect()
    }
    rows = re.findall(r"^\| `(rackserve_\w+)` \| (\w+) \| [^|]* \| ([^|]*) \|$", README.read_text(), re.MULTILINE)
    assert set(rows) == exported
