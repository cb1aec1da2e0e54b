"""Makes the JSON schemas that check the chart's values, from the spec, so that they follow its changes.

The chart's templates check values by `schema/values.json`, with our own messages. `values.schema.json` has the same
schema for Helm and for editors. Helm's check comes first and its messages don't name the value, so this schema accepts
anything that says `valuesCheckedBy: chart`, as the chart's own values do.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from deployments.chart.values import ChartValues
from router.scheduling.registry import policy_names

DIALECT: Final = "http://json-schema.org/draft-07/schema#"
"""The JSON schema dialect that both Helm 3 and Helm 4 support."""


def helm_schema() -> str:
    """Return the text of `values.schema.json`."""
    schema = json.loads(values_schema())
    definitions = schema.pop("$defs")
    dialect = schema.pop("$schema")
    definitions["ChartValues"] = schema
    by_chart = {"required": ["valuesCheckedBy"], "properties": {"valuesCheckedBy": {"const": "chart"}}}
    chosen = {"if": by_chart, "then": True, "else": {"$ref": "#/$defs/ChartValues"}}
    return _text({"$schema": dialect, "$defs": definitions, **chosen})


def values_schema() -> str:
    """Return the text of `schema/values.json`: sorted, indented, with a newline at the end."""
    schema = ChartValues.model_json_schema(mode="validation")
    definitions = schema["$defs"]
    for part in (schema, *definitions.values()):
        for node in _nodes(part):
            node.pop("title", None)
            if isinstance(node.get("default"), dict | list):
                node.pop("default")  # repeated by the defaults of the keys inside
    schema["properties"]["global"] = {"type": "object", "description": "Helm's own, for charts that contain this one."}
    # `ReplicaCount` may also be written as a plain number.
    replicas = {
        "anyOf": [
            {"type": "integer", "minimum": 0, "maximum": 4096},
            definitions["ModelSpec"]["properties"]["replicas"],
        ]
    }
    for part in ("ModelSpec", "PoolSpec"):
        definitions[part]["properties"]["replicas"] = replicas
    definitions["ModelSpec"]["properties"]["policy"] = {"type": "string", "enum": policy_names()}
    return _text({"$schema": DIALECT, **schema})


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - any part of a JSON schema
    """Yield every sub-schema. A mapping of properties is not one itself, so a property may be called `title`."""
    if isinstance(schema, dict):
        yield schema
        for key, value in schema.items():
            if key in {"properties", "$defs"}:
                for part in value.values():
                    yield from _nodes(part)
            elif key not in {"default", "enum", "required"}:
                yield from _nodes(value)
    elif isinstance(schema, list):
        for part in schema:
            yield from _nodes(part)
