"""Turns the text of a cluster file into a `ClusterSpec` and reports every problem at once, with its path and line."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from cluster.spec.checked_yaml import FileKind, path
from cluster.spec.cluster_spec import ClusterSpec
from cluster.spec.yaml_tree import Location

__all__ = ["CLUSTER_FILE", "from_data", "load", "path"]


def load(text: str, source: str) -> ClusterSpec:
    """Return the spec that `text` describes.

    Args:
        text: the YAML document.
        source: name of the file, for errors.

    Raises:
        SpecError: with every mistake, in the file's order.
    """
    return CLUSTER_FILE.load(text, source)


def from_data(data: object, source: str) -> ClusterSpec:
    """Return the spec of a cluster file that is parsed already, as mappings and lists.

    Args:
        data: the parsed file.
        source: name of the file, for errors.

    Raises:
        SpecError: with every mistake, without line numbers.
    """
    return CLUSTER_FILE.from_data(data, source)


def _rules(data: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    gateway = data.get("gateway")
    gateways = gateway.get("replicas") if isinstance(gateway, dict) else None
    if isinstance(gateways, str) and gateways != "every_node":
        yield ("gateway", "replicas"), f"must be a whole number, or every_node; got {gateways!r}"
    models = data.get("models")
    first_with_name: dict[str, int] = {}
    for position, model in enumerate(models if isinstance(models, list) else ()):
        if not isinstance(model, dict):
            continue
        name = model.get("name")
        if isinstance(name, str):
            first = first_with_name.setdefault(name, position)
            if first != position:
                yield ("models", position, "name"), f"{name!r} is already the name of models[{first}]; names are unique"
        if model.get("engine", "vllm") == "vllm" and model.get("source", "") == "":
            yield ("models", position, "source"), "missing: a Hugging Face id, a folder or a built-in name"


CLUSTER_FILE: Final = FileKind(
    name="cluster file",
    root=ClusterSpec,
    needs="it needs at least a list of models",
    rules=_rules,
    shorthands={"replicas": "a number, or a mapping with min and max"},
)
