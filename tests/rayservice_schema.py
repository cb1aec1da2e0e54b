"""Make the JSON Schema that the chart's tests check RayServices against, from KubeRay's CRD.

python -m tests.rayservice_schema ray.io_rayservices.yaml kuberay-1.7.0-rayservice-v1.schema.json
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

VERSION = "v1"


def strict_schema(crd: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a CRD's version `v1`, taken strictly: an object with named properties has no others."""
    (version,) = (each for each in crd["spec"]["versions"] if each["name"] == VERSION)
    schema: dict[str, Any] = _strict(version["schema"]["openAPIV3Schema"])
    return schema


def _strict(node: dict[str, Any]) -> dict[str, Any]:
    """Return a schema node without its description, and strict all the way down."""
    strict = {key: value for key, value in node.items() if key != "description"}
    for key in ("items", "additionalProperties"):
        if isinstance(strict.get(key), dict):
            strict[key] = _strict(strict[key])
    if "properties" in strict:
        strict["properties"] = {name: _strict(value) for name, value in strict["properties"].items()}
        strict.setdefault("additionalProperties", False)
    return strict


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(strict_schema(yaml.safe_load(source.read_text()))))
