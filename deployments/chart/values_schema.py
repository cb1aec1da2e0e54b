"""`values.schema.json`, with which Helm checks values: made from the spec, so that it follows when the spec changes."""

import json
from collections.abc import Iterator
from typing import Any, Final

from deployments.chart.values import ChartValues
from router.policy.registry import policy_names

DIALECT: Final = "http://json-schema.org/draft-07/schema#"
"""What both Helm 3 and Helm 4 know."""


def values_schema() -> str:
    """Return the schema's text: sorted, indented, ending with a newline."""
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
    return json.dumps({"$schema": DIALECT, **schema}, indent=1, sort_keys=True) + "\n"


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
