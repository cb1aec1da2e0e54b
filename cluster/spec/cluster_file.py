"""Turns the text of a cluster file into a `ClusterSpec` and reports every problem at once, with its path and line."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from cluster.spec.checked_yaml import FileKind, Rule, no_rules, path
from cluster.spec.cluster_spec import ClusterSpec
from cluster.spec.gateway_rules import gateway_rules
from cluster.spec.kv_cache_rules import kv_cache_rules
from cluster.spec.pool_rules import pool_rules
from cluster.spec.yaml_tree import Location

__all__ = ["CLUSTER_FILE", "from_data", "load", "path"]


def load(text: str, source: str, more: Rule = no_rules) -> ClusterSpec:
    """Return the spec that `text` describes.

    Args:
        text: the YAML document.
        source: name of the file, for errors.
        more: rules that this package cannot know, such as the policies' names.

    Raises:
        SpecError: with every mistake, in the file's order.
    """
    return CLUSTER_FILE.load(text, source, more)


def from_data(data: object, source: str, more: Rule = no_rules) -> ClusterSpec:
    """Return the spec of a cluster file that is parsed already, as mappings and lists.

    Args:
        data: the parsed file.
        source: name of the file, for errors.
        more: rules that this package cannot know, such as the policies' names.

    Raises:
        SpecError: with every mistake, without line numbers.
    """
    return CLUSTER_FILE.from_data(data, source, more)


def each_model(data: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield position and raw data of each entry of `models` that is a mapping."""
    models = data.get("models")
    for position, model in enumerate(models if isinstance(models, list) else ()):
        if isinstance(model, dict):
            yield position, model


def engine_arguments(model: Mapping[str, Any]) -> Iterator[tuple[Location, Mapping[str, Any]]]:
    """Yield each `engine_args` in the raw data of a model that is a mapping, its own and its pools', with its place."""
    pools = model.get("pools")
    places: list[tuple[Location, object]] = [((), model)]
    places += [(("pools", number), pool) for number, pool in enumerate(pools if isinstance(pools, list) else ())]
    for where, part in places:
        arguments = part.get("engine_args") if isinstance(part, dict) else None
        if isinstance(arguments, dict):
            yield (*where, "engine_args"), arguments


def _rules(data: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    first_with_name: dict[str, int] = {}
    for position, model in each_model(data):
        name = model.get("name")
        if isinstance(name, str):
            first = first_with_name.setdefault(name, position)
            if first != position:
                yield ("models", position, "name"), f"{name!r} is already the name of models[{first}]; names are unique"
        if model.get("engine", "vllm") == "vllm" and model.get("source", "") == "":
            yield ("models", position, "source"), "missing: a Hugging Face id, a folder or a built-in name"
        yield from pool_rules(("models", position), model)
        yield from kv_cache_rules(("models", position), model)
    yield from _adapter_rules(data, first_with_name)
    adapters = {name for _, model in each_model(data) for name in _adapters(model)}
    yield from gateway_rules(data, {*first_with_name, *adapters})


def _adapter_rules(data: Mapping[str, Any], models: Mapping[str, int]) -> Iterator[tuple[Location, str]]:
    """Yield each adapter whose name is taken: an app that asks for it must mean one model."""
    first_with_name: dict[str, str] = {}
    for position, model in each_model(data):
        listed = model.get("adapters")
        for number, adapter in enumerate(listed if isinstance(listed, list) else ()):
            name = adapter.get("name") if isinstance(adapter, dict) else None
            if not isinstance(name, str):
                continue
            where = ("models", position, "adapters", number, "name")
            first = first_with_name.setdefault(name, path(where[:4]))
            if name in models:
                yield where, f"{name!r} is already the name of models[{models[name]}]; names are unique"
            elif first != path(where[:4]):
                yield where, f"{name!r} is already the name of {first}; names are unique"


def _adapters(model: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of a model's LoRA adapters: its `adapters`, and vLLM's own (`NAME=FOLDER`, or with a name)."""
    own = model.get("adapters")
    for adapter in own if isinstance(own, list) else ():
        name = adapter.get("name") if isinstance(adapter, dict) else None
        if isinstance(name, str):
            yield name
    for _, arguments in engine_arguments(model):
        listed = arguments.get("lora_modules", arguments.get("lora-modules"))
        for adapter in listed if isinstance(listed, list) else [listed]:
            name = adapter.get("name") if isinstance(adapter, dict) else adapter
            if isinstance(name, str):
                yield name.partition("=")[0]


CLUSTER_FILE: Final = FileKind(
    name="cluster file",
    root=ClusterSpec,
    needs="it needs at least a list of models",
    rules=_rules,
    ruled=frozenset({(), ("gateway",)}),
    shorthands={"replicas": "a number, or a mapping with min and max"},
)
