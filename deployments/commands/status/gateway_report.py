"""What gateways that are named by their URLs know, in the form of the report of `rackserve status`; needs no Ray."""

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.errors import ClusterUnreachableError
from deployments.commands.status.attainment_line import attainment_of
from deployments.commands.target.gateway_pages import AdminPort, GatewayPages, ports_at
from deployments.commands.target.replica_rows import replica_rows


def report_of_gateways(urls: Sequence[str]) -> dict[str, Any]:
    """Return the report of gateways at `urls`, as one application; replicas are those that its first gateway sees.

    Raises:
        ClusterUnreachableError: no gateway answers there.
        ClusterError: what answers is no admin port, or it refuses the key.
    """
    pages = GatewayPages()
    try:
        found = [(port, state) for port in ports_at(urls, pages) if (state := pages.state(port)) is not None]
    finally:
        pages.close()
    if not found:
        raise ClusterUnreachableError(f"no gateway answers at {', '.join(urls)}")
    states = [state for _, state in found]
    seen = states[0]
    application = {
        "name": "gateways",
        "status": "RUNNING" if all(state["ready"] for state in states) else "NOT_READY",
        "message": "",
        "missing": {},
        "gateways": [_gateway(port, state) for port, state in found],
        "deployments": {},
        "models": {
            name: {
                "policy": model["policy"],
                "queue": queue_of(name, states),
                "slo": attainment_of(name, states),
                "replicas": replica_rows(model["replicas"]),
                "decisions": [],
            }
            for name, model in sorted(seen["models"].items())
        },
    }
    return {"ray_address": "", "applications": [application], "waiting": []}


def _gateway(port: AdminPort, state: Mapping[str, Any]) -> dict[str, Any]:
    host = port.url.partition("://")[2].rpartition(":")[0]
    return {
        "gateway_id": state["gateway_id"],
        "url": f"http://{host}:{state['port']}",
        "admin_url": port.url,
        "ready": bool(state["ready"]),
        "reason": state["reason"],
        "head_problem": state.get("head_problem", ""),
    }


def queue_of(model: str, states: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """Return a model's queue counts over all gateways, and the longest time, in seconds, that a gateway's takes.

    Args:
        model: the model's name.
        states: each gateway's `/state`; None: it does not answer.
    """
    queues = [queue for state in states if state and (queue := state["models"].get(model, {}).get("queue"))]
    counts = {key: sum(queue[key] for queue in queues) for key in ("waiting", "held", "in_flight", "refused")}
    return {**counts, "drain_s": max((queue["drain_s"] for queue in queues), default=0.0)}
