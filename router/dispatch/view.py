"""One model in one gateway as plain JSON values, for `/state` and `rackserve status`."""

from dataclasses import asdict
from typing import Any

from router.dispatch.fleet import Fleet
from router.dispatch.replica import Replica
from router.flow_control.attainment import Attainment, attainment_view
from router.flow_control.limits import AdmissionLimits
from router.flow_control.queue_view import QueueView
from router.replicas.adapter_report import AdapterReport
from router.replicas.plan_promise import kept


def model_view(
    fleet: Fleet, queue: QueueView, limits: AdmissionLimits, attainment: Attainment, now_s: float
) -> dict[str, Any]:
    """Return a model's policy, queue, objective (None: it has none) and replicas as plain JSON values."""
    return {
        "policy": fleet.policy.name,
        "slo": attainment_view(limits, attainment, now_s),
        "queue": {
            "waiting": queue.waiting,
            "held": queue.held,
            "waiting_work": round(queue.waiting_work),
            "drain_s": round(queue.drain_s, 3),
            "in_flight": queue.in_flight,
            "refused": queue.refused,
            "tenants": [
                {"tenant": tenant, "priority": priority.name.lower(), "waiting": waiting}
                for tenant, priority, waiting in queue.tenants
                if waiting
            ],
        },
        "replicas": [_replica_row(replica, now_s) for _, replica in sorted(fleet.replicas.items())],
    }


def adapters_view(report: AdapterReport | None) -> dict[str, Any] | None:
    """Return a replica's adapters as plain JSON values; None: it has room for none, or has not told yet."""
    if report is None:
        return None
    return {
        "known": sorted(report.known),
        "held": list(report.held),
        "slots": report.slots,
        "loads": report.loads,
        "load_s": round(report.load_s, 3),
        "problems": dict(report.problems),
    }


def _replica_row(replica: Replica, now_s: float) -> dict[str, Any]:
    endpoint, health = replica.endpoint, replica.health
    pause_s = 0.0 if health.takes else health.until_s - now_s
    return {
        "replica_id": replica.replica_id,
        "replica": endpoint.whole_id,
        "rank": endpoint.rank,
        "pool": endpoint.pool,
        "role": str(endpoint.role),
        "host": endpoint.host,
        "http_port": endpoint.http_port,
        "node_id": endpoint.node_id,
        "presence": str(endpoint.presence),
        "accepting": replica.accepting,
        "standing": health.standing,
        "errors_in_a_row": len(health.errors),
        "pause_s": round(max(0.0, pause_s), 3),
        "busy_s": round(max(0.0, replica.slots.busy_until_s - now_s), 3),
        "in_flight": replica.in_flight,
        "sent": replica.sent,
        "plan": {str(what): share for what, share in kept(endpoint.promise, replica.report, endpoint.start).items()}
        if endpoint.promise is not None
        else {},
        "serves": asdict(endpoint.serves) if endpoint.serves is not None else None,
        "report": asdict(replica.report) if replica.report is not None else None,
        "adapters": adapters_view(replica.adapters.report),
    }
