"""The chart's schemas, with which values are checked: made from the spec, so that they follow when the spec changes.

`schema/values.json` is what values must be; the chart's templates check them by it, with messages of our own. Helm
finds the same in `values.schema.json`, as editors do for values files, but not for values that say `valuesCheckedBy:
chart`, as the chart's own do: its check comes first, and its messages don't name the value.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from deployments.chart.values import ChartValues
from router.scheduling.registry import policy_names

DIALECT: Final = "http://json-schema.org/draft-07/schema#"
"""What both Helm 3 and Helm 4 know."""


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
    """Return the text of `schema/values.json`: sorted, indented, ending with a newline."""
    schema = ChartValues.model_json_schema(mode="validation")
    definitions = schema["$defs"]
    for part in (schema, *definitions.values()):
        for node in _nodes(part):
            node.pop("title", None)
            if isinstance(node.get("default"), dict | list):
                node.pop("default")  # each key's own default says it
    schema["properties"]["global"] = {"type": "object", "description": "Helm's own, for charts that contain this one."}
    # The shorthand of `ReplicaCount`: a plain number.
    replicas = definitions["ModelSpec"]["properties"]["replicas"]
    definitions["ModelSpec"]["properties"]["replicas"] = {
        "anyOf": [{"type": "integer", "minimum": 0, "maximum": 4096}, {"$ref": replicas["$ref"]}]
    }
    definitions["ModelSpec"]["properties"]["policy"] = {"type": "string", "enum": policy_names()}
    return _text({"$schema": DIALECT, **schema})


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - any part of a JSON schema
    """Yield every sub-schema; a mapping of properties is none itself, so that a property may be called `title`."""
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
