"""What `rackserve status` reports, as JSON-like data: from Serve, the directory and the gateways' own pages."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import deployments.ray_api as ray_api
from cluster.errors import ClusterError, ClusterUnreachableError
from cluster.spec.launch_spec import LaunchSpec, OnPremLaunch
from deployments.app import GATEWAY_DEPLOYMENT
from deployments.commands.status.attainment_line import attainment_of
from deployments.commands.status.gateway_report import queue_of
from deployments.commands.status.scaling_table import decisions_of
from deployments.commands.status.waiting_gangs import waiting_gangs
from deployments.commands.target.applications import our_applications
from deployments.commands.target.gateway_pages import AdminPort, GatewayPages
from deployments.commands.target.replica_rows import replica_rows
from deployments.directory.client import view_now
from deployments.directory.membership import GatewayEndpoint, View
from deployments.gateway.operators import headers_by_ray
from deployments.launch.application import gateway_url, reason_in, why_failed
from deployments.launch.away_machines import failed_on
from deployments.launch.host_names import addresses_here
from deployments.launch.missing_machines import away_machines, missing_machines
from deployments.launch.running_spec import running_spec
from deployments.model_cache.warmer import lines_of, states_now


def report_of_ray(address: str) -> dict[str, Any]:
    """Return the report on a Ray cluster.

    Raises:
        ClusterUnreachableError: there is no Ray cluster at `address`, or no RackServe on it.
    """
    try:
        ray_api.connect(address)
    except ClusterUnreachableError as error:
        hint = "where only Ray's head is away its gateways serve on: ask one by --url"
        raise ClusterUnreachableError(f"{error}; {hint}") from error
    pages = GatewayPages()
    try:
        return {
            "ray_address": ray_api.address(),
            "applications": [_application(name, pages) for name in our_applications()],
            "waiting": waiting_gangs(),
        }
    finally:
        pages.close()
        ray_api.disconnect()


def _application(name: str, pages: GatewayPages) -> dict[str, Any]:
    state = ray_api.application_state(name)
    view = _view(name)
    headers = headers_by_ray(name)
    gateways = [_gateway(gateway, headers, pages) for gateway in view.gateways]
    seen: dict[str, Any] = next((gateway["state"] for gateway in gateways if gateway["state"]), {"models": {}})
    decisions = decisions_of(name)
    deployments = dict(state.deployments) if state else {}
    deployments.pop(GATEWAY_DEPLOYMENT, None)
    return {
        "name": name,
        "status": state.status if state else "UNKNOWN",
        "message": why_failed(state) if state and state.status in {"DEPLOY_FAILED", "UNHEALTHY"} else "",
        **_machines(name),
        "cache": _cache(name),
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
                "queue": queue_of(model, [gateway["state"] for gateway in gateways]),
                "slo": attainment_of(model, [gateway["state"] for gateway in gateways]),
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


def _machines(name: str) -> dict[str, Any]:
    """Return what the running cluster file wants and the machines do not have, by model, and which have not joined."""
    try:
        spec, machines = running_spec(name), ray_api.machines()
    except ClusterError:
        spec, machines = None, []
    return {
        "missing": missing_machines(spec, machines) if spec is not None else {},
        "away": _away(spec.launch, machines) if spec is not None and spec.launch is not None else {},
    }


def _cache(name: str) -> list[str]:
    """Return how far the nodes are with downloading, if they are warmed."""
    try:
        return lines_of(states_now(name))
    except ClusterError as error:
        return [f"cannot ask how far the nodes' caches are: {error}"]


def _away(launch: LaunchSpec, machines: Sequence[ray_api.Machine]) -> dict[str, str]:
    """Return the machines that have not joined with what failed on each, where this is the head, whose log tells it."""
    if not isinstance(launch, OnPremLaunch):
        return dict.fromkeys(away_machines(launch, machines), "")
    failed = failed_on(ray_api.autoscaler_log())
    return {
        host: next((failed[address] for address in (host, *addresses_here(host)) if address in failed), "")
        for host in away_machines(launch, machines)
    }


def _gateway(gateway: GatewayEndpoint, headers: Mapping[str, str], pages: GatewayPages) -> dict[str, Any]:
    state = pages.state(AdminPort(gateway.admin_url, headers))
    return {
        "gateway_id": gateway.gateway_id,
        "url": gateway_url(gateway),
        "admin_url": gateway.admin_url,
        "ready": bool(state and state["ready"]),
        "reason": state["reason"] if state else "its admin port does not answer",
        "head_problem": state.get("head_problem", "") if state else "",
        "state": state,
    }


def _replicas(model: str, view: View, seen: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the directory's replicas of a model, each with the load report that a gateway has of it."""
    rows = {row["replica_id"]: row for row in replica_rows(seen["models"].get(model, {}).get("replicas", ()))}
    return [
        {
            "replica_id": endpoint.replica_id,
            "pool": endpoint.pool,
            "role": str(endpoint.role),
            "host": endpoint.host,
            "http_port": endpoint.http_port,
            "node_id": endpoint.node_id,
            "start": asdict(endpoint.start) if endpoint.start is not None else None,
            "plan": rows.get(endpoint.replica_id, {}).get("plan", {}),
            "report": rows.get(endpoint.replica_id, {}).get("report"),
            "adapters": rows.get(endpoint.replica_id, {}).get("adapters"),
            "ranks": rows.get(endpoint.replica_id, {}).get("ranks", []),
        }
        for endpoint in view.replicas
        if endpoint.model == model
    ]
