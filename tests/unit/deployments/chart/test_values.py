"""The chart's values.schema.json and README table are what the code makes them."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from cluster.errors import SpecError
from cluster.spec.cluster_spec import ClusterSpec
from cluster.spec.gateway_spec import GatewaySpec, TenantSpec
from cluster.spec.model_spec import ModelSpec
from deployments import app
from deployments.chart.values import ChartValues
from deployments.chart.values_schema import helm_schema, values_schema
from deployments.chart.values_table import documented_values, values_table, with_table

CHART = Path(__file__).parents[4] / "helm" / "rackserve"
REMEDY = "run `make helm-docs` (`.venv/bin/python -m deployments.chart`) and commit what it writes"
EXAMPLES = [
    Path(app.__file__).parent / "examples" / name for name in ("demo.yaml", "init.yaml", "pools.yaml", "racks.yaml")
]


def test_the_schema_is_the_specs() -> None:
    """Both schemas follow the spec; `make helm-docs` writes them."""
    assert (CHART / "schema" / "values.json").read_text() == values_schema(), REMEDY
    assert (CHART / "values.schema.json").read_text() == helm_schema(), REMEDY


@pytest.mark.parametrize("checked_by", ["chart", "helm"])
def test_helm_checks_what_the_chart_does_not(checked_by: str) -> None:
    """Helm's own check steps back only for values that the chart's templates check."""
    values = yaml.safe_load((CHART / "values.yaml").read_text()) | {"valuesCheckedBy": checked_by}
    validator = jsonschema.Draft7Validator(json.loads(helm_schema()))
    validator.validate(values)
    values["gateway"]["processes"] = "x"
    assert validator.is_valid(values) is (checked_by == "chart")
    del values["valuesCheckedBy"]
    assert not validator.is_valid(values)


def test_the_readmes_table_is_that_of_the_values() -> None:
    """Every value with its default stands in the chart's README; `make helm-docs` writes it."""
    readme = (CHART / "README.md").read_text()
    assert with_table(readme, values_table((CHART / "values.yaml").read_text())) == readme, REMEDY


def test_every_key_of_the_cluster_file_is_in_the_schema() -> None:
    """The embedded cluster file is the very one `rackserve serve` takes: no key more, none less."""
    definitions = json.loads(values_schema())["$defs"]
    for part in (ClusterSpec, GatewaySpec, ModelSpec, TenantSpec):
        assert definitions[part.__name__]["properties"].keys() == part.model_fields.keys()
        assert definitions[part.__name__]["additionalProperties"] is False


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_cluster_files_are_values_as_they_are(file: Path) -> None:
    """What `rackserve serve` takes, `clusterFile` takes."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    values["clusterFile"] = yaml.safe_load(file.read_text())
    jsonschema.Draft7Validator(json.loads(values_schema())).validate(values)


def test_values_have_every_key_that_the_schema_knows() -> None:
    """values.yaml gives each value a default of the right type, and no other key."""
    ChartValues.model_validate_json(json.dumps(yaml.safe_load((CHART / "values.yaml").read_text())), strict=True)


def test_a_value_without_a_comment_is_found() -> None:
    """A key that no `# --` comment covers is told with its line."""
    with pytest.raises(SpecError, match=r"b\.d: no `# --` comment says what it is \(line 5\)"):
        documented_values("# -- one\na: 1\nb:\n  # plain\n  d: 2\n")


def test_a_comment_covers_what_stands_under_its_key() -> None:
    """Deeper keys need no comment of their own, and have their own row where they have one."""
    rows = documented_values("# -- all\n# of it\na:\n  b: 1\n  # -- the c\n  c: x\nd: 1\n".replace("d: 1\n", ""))
    assert [(row.path, row.default, row.text) for row in rows] == [
        ("a", '`{"b": 1, "c": "x"}`', "all of it"),
        ("a.c", '`"x"`', "the c"),
    ]
