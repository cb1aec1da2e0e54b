"""Rules over several keys of a cluster file's `gateway:` section, found in raw data."""

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from cluster.spec.cluster_spec import ClusterSettings
from cluster.spec.gateway_spec import PLAIN_LABEL, GatewaySpec
from cluster.spec.yaml_tree import Location

SHOWN_MODELS: Final = 8
"""Most names of models that a message lists."""


def gateway_rules(data: Mapping[str, Any], models: Collection[str]) -> Iterator[tuple[Location, str]]:
    """Yield the location and message of each problem.

    Args:
        data: the raw data of the whole file.
        models: the names of the file's models.
    """
    gateway = _mapping(data, "gateway")
    gateways = gateway.get("replicas")
    if isinstance(gateways, str) and gateways != "every_node":
        yield ("gateway", "replicas"), f"must be a whole number, or every_node; got {gateways!r}"
    for key, value in _mapping(gateway, "node_labels").items():
        if gateways == "every_node" and isinstance(value, str) and not PLAIN_LABEL.fullmatch(value):
            yield ("gateway", "node_labels", key), f"must have one plain value with every_node; got {value!r}"
    if gateway.get("admin_key_sha256") and gateway.get("admin_key_file"):
        yield ("gateway", "admin_key_file"), "admin_key_sha256 gives the operators' key already; give one of the two"
    yield from _ports(gateway, _mapping(data, "cluster"))
    yield from _tenants(gateway, models)


def _ports(gateway: Mapping[str, Any], cluster: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    ports: tuple[tuple[Location, object], ...] = (
        (("gateway", "port"), gateway.get("port", GatewaySpec.model_fields["port"].default)),
        (("gateway", "admin_port"), gateway.get("admin_port", GatewaySpec.model_fields["admin_port"].default)),
        (("cluster", "serve_port"), cluster.get("serve_port", ClusterSettings.model_fields["serve_port"].default)),
    )
    owner_of: dict[object, Location] = {}
    for where, port in ports:
        if not isinstance(port, int) or not port:
            continue  # not a port at all, or any free one
        owner = owner_of.setdefault(port, where)
        if owner != where:
            yield where, f"{port} is already {'.'.join(map(str, owner))}; give each its own"


def _tenants(gateway: Mapping[str, Any], models: Collection[str]) -> Iterator[tuple[Location, str]]:
    tenants = gateway.get("tenants")
    owner_of: dict[tuple[str, str], int] = {}
    for position, tenant in enumerate(tenants if isinstance(tenants, list) else ()):
        if not isinstance(tenant, dict):
            continue
        for key in ("name", "key_sha256"):
            given = tenant.get(key)
            for value in given if isinstance(given, list) else [given]:
                owner = owner_of.setdefault((key, value), position) if isinstance(value, str) else position
                if owner != position:
                    message = f"is already the {key} of gateway.tenants[{owner}]; each tenant must have its own"
                    yield ("gateway", "tenants", position, key), f"{value!r} {message}"
        allowed = tenant.get("models")
        for number, model in enumerate(allowed if isinstance(allowed, list) else ()):
            if isinstance(model, str) and model not in models:
                yield ("gateway", "tenants", position, "models", number), _unknown_model(model, models)


def _unknown_model(name: str, models: Collection[str]) -> str:
    close = difflib.get_close_matches(name, models, n=1, cutoff=0.6)
    if close:
        return f"no model of this file is called {name!r}; did you mean {close[0]!r}?"
    listed = ", ".join(sorted(models)[:SHOWN_MODELS]) + (", …" if len(models) > SHOWN_MODELS else "")
    return f"no model of this file is called {name!r}; there {'is' if len(models) == 1 else 'are'} {listed or 'none'}"


def _mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = data.get(key)
    return found if isinstance(found, dict) else {}
