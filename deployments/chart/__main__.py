"""`python -m deployments.chart`: write the Helm chart's generated files (`make helm-docs`)."""

from pathlib import Path
from typing import Final

from deployments.chart.fabric import fabric_text
from deployments.chart.values_schema import helm_schema, values_schema
from deployments.chart.values_table import values_table, with_table
from deployments.chart.weights import weights_text

CHART: Final = Path(__file__).parents[2] / "helm" / "rackserve"


def main() -> None:
    """Write both schemas, the sizes of weights, the fabric's settings and the table in the chart's README."""
    (CHART / "schema").mkdir(exist_ok=True)
    (CHART / "schema" / "values.json").write_text(values_schema(), encoding="utf-8")
    (CHART / "schema" / "weights.json").write_text(weights_text(), encoding="utf-8")
    (CHART / "schema" / "fabric.json").write_text(fabric_text(), encoding="utf-8")
    (CHART / "values.schema.json").write_text(helm_schema(), encoding="utf-8")
    readme = CHART / "README.md"
    table = values_table((CHART / "values.yaml").read_text(encoding="utf-8"))
    readme.write_text(with_table(readme.read_text(encoding="utf-8"), table), encoding="utf-8")


if __name__ == "__main__":
    main()
