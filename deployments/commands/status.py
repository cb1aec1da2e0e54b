"""`rackserve status`: shows what runs on a Ray cluster, from Serve, the directory and the gateways."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

import deployments.ray_api as ray_api
from cluster.errors import ClusterError, ClusterUnreachableError
from deployments.app import GATEWAY_DEPLOYMENT
from deployments.commands.scaling_table import decisions_of, scaling_table
from deployments.commands.waiting_gangs import print_waiting, waiting_gangs
from deployments.directory.client import actor_name, view_now
from deployments.directory.membership import GatewayEndpoint, View
from deployments.gateway.operators import headers_by_ray
from deployments.launch.application import reason_in, why_failed

ADMIN_TIMEOUT_S = 2.0


def status(address: str, *, as_json: bool, console: Console) -> None:
    """Print what RackServe runs on a Ray cluster.

    Args:
        address: the Ray cluster's address.
        as_json: print everything as JSON.
        console: where tables go.

    Raises:
        ClusterUnreachableError: there is no Ray cluster at `address`, or no RackServe on it.
    """
    ray_api.connect(address)
    try:
        directories = set(ray_api.actor_names())
        applications = [name for name in ray_api.application_names() if actor_name(name) in directories]
        if not applications:
            raise ClusterUnreachableError(f"no RackServe on the Ray cluster at {ray_api.address()}")
        reports = [_application(name) for name in applications]
        waiting = waiting_gangs()
        report = {"ray_address": ray_api.address(), "applications": reports, "waiting": waiting}
    finally:
        ray_api.disconnect()
    if as_json:
        print(json.dumps(report, indent=2))  # noqa: T201 - for programs, on stdout
        return
    for application in reports:
        _print_application(application, console)
    print_waiting(waiting, console)


def _application(name: str) -> dict[str, Any]:
    state = ray_api.application_state(name)
    view = _view(name)
    headers = headers_by_ray(name)
    gateways = [_gateway(gateway, headers) for gateway in view.gateways]
    seen: dict[str, Any] = next((gateway["state"] for gateway in gateways if gateway["state"]), {"models": {}})
    decisions = decisions_of(name)
    deployments = dict(state.deployments) if state else {}
    deployments.pop(GATEWAY_DEPLOYMENT, None)
    return {
        "name": name,
        "status": state.status if state else "UNKNOWN",
        "message": why_failed(state) if state and state.status in {"DEPLOY_FAILED", "UNHEALTHY"} else "",
        "gateways": [{key: value for key, value in gateway.items() if key != "state"} for gateway in gateways],
        "deployments": {
            key: {
                "status": deployment.status,
                "message": reason_in(deployment.message) if deployment.message else "",
                "replicas": dict(deployment.replicas),
            }
            for key, deployment in sorted(deployments.items())
        },
        "models": {
            model: {
                "policy": seen["models"].get(model, {}).get("policy", ""),
                "queue": _queue(model, gateways),
                "replicas": _replicas(model, view, seen),
                "decisions": decisions.get(model, []),
            }
            for model in sorted({*seen["models"], *(endpoint.model for endpoint in view.replicas)})
        },
    }


def _view(name: str) -> View:
    try:
        return view_now(name)
    except ClusterError:
        return View(epoch="", version=0, settled=False)


def _gateway(gateway: GatewayEndpoint, headers: Mapping[str, str]) -> dict[str, Any]:
    admin = gateway.admin_url
    try:
        state = httpx.get(f"{admin}/state", headers=headers, timeout=ADMIN_TIMEOUT_S).raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        state = None
    return {
        "gateway_id": gateway.gateway_id,
        "url": f"{gateway.scheme}://{gateway.host}:{gateway.port}",
        "admin_url": admin,
        "ready": bool(state and state["ready"]),
        "reason": state["reason"] if state else "its admin port does not answer",
        "state": state,
    }


def _queue(model: str, gateways: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a model's queue counts over all gateways, and the longest time, in seconds, that a gateway's takes."""
    queues = [
        queue
        for gateway in gateways
        if gateway["state"] and (queue := gateway["state"]["models"].get(model, {}).get("queue"))
    ]
    counts = {key: sum(queue[key] for queue in queues) for key in ("waiting", "held", "in_flight", "refused")}
    return {**counts, "drain_s": max((queue["drain_s"] for queue in queues), default=0.0)}


def _replicas(model: str, view: View, seen: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the directory's replicas of a model, each with the load report that a gateway has of it."""
    rows = {row["replica_id"]: row for row in seen["models"].get(model, {}).get("replicas", ())}
    return [
        {
            "replica_id": endpoint.replica_id,
            "host": endpoint.host,
            "http_port": endpoint.http_port,
            "node_id": endpoint.node_id,
            "report": rows.get(endpoint.replica_id, {}).get("report"),
        }
        for endpoint in view.replicas
        if endpoint.model == model
    ]


def _print_application(application: Mapping[str, Any], console: Console) -> None:
    console.print(f"{application['name']}: {application['status']} {application['message']}".rstrip(), markup=False)
    for gateway in application["gateways"]:
        ready = "ready" if gateway["ready"] else f"not ready: {gateway['reason']}"
        console.print(
            f"gateway {gateway['url']} (admin {gateway['admin_url']}): {ready}", markup=False, highlight=False
        )
    for name, deployment in application["deployments"].items():
        states = ", ".join(f"{count} {state.lower()}" for state, count in deployment["replicas"].items() if count)
        line = f"deployment {name}: {deployment['status'].lower()} ({states}) {deployment['message']}"
        console.print(line.rstrip(), markup=False, highlight=False)
    for name, model in application["models"].items():
        queue = model["queue"]
        if queue["waiting"] or queue["refused"]:
            held = f", {queue['held']} of them for a first replica" if queue["held"] else ""
            drain = f", about {queue['drain_s']:.0f} s of work" if queue["drain_s"] else ""
            line = f"queue {name}: {queue['waiting']} waiting{held}{drain}; {queue['refused']} refused so far"
            console.print(line, markup=False, highlight=False)
    table = Table("model", "policy", "replica", "address", "running", "waiting", "KV in use")
    for name, model in application["models"].items():
        for replica in model["replicas"]:
            load = replica["report"]
            table.add_row(
                name,
                model["policy"],
                replica["replica_id"],
                f"{replica['host']}:{replica['http_port']}",
                *((str(load["running"]), str(load["waiting"]), f"{load['kv_usage']:.0%}") if load else ("?", "?", "?")),
            )
        if not model["replicas"]:
            table.add_row(name, model["policy"], "none", "", "", "", "")
    console.print(table)
    scaling = scaling_table(application["models"])
    if scaling is not None:
        console.print(scaling)
