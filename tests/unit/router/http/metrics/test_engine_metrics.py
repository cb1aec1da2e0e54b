"""What a gateway tells Prometheus of engines."""

from prometheus_client import CollectorRegistry, generate_latest

from router.dispatch.fleet import Fleet
from router.http.metrics.engine_metrics import EngineMetrics
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.scheduling.registry import policy_named


def test_a_report_is_shown_and_a_silent_replica_is_not_zero() -> None:
    """Figures are those of the last report; a replica that fell silent has none, and is marked as not reporting."""
    fleet = Fleet(policy_named("round_robin"))
    fleet.set_replicas([Endpoint("heard", "m", "h", 1, domain="rack-0"), Endpoint("silent", "m", "h", 2)])
    fleet.report(fleet.replicas["heard"], LoadReport(1, 3, 2, 512, 0.25, 4096, 9000.0, 250.0))
    fleet.report(fleet.replicas["silent"], LoadReport(1, 9, 9, 999, 0.75, 4096, 9000.0, 250.0))
    fleet.report(fleet.replicas["silent"], None)
    registry = CollectorRegistry()
    registry.register(EngineMetrics(lambda: list(fleet.replicas.values())))
    lines = generate_latest(registry).decode().splitlines()
    told = {line for line in lines if not line.startswith("#")}
    heard = 'domain="rack-0",model="m",replica="heard"'
    assert {
        f"rackserve_engine_reporting{{{heard}}} 1.0",
        'rackserve_engine_reporting{domain="",model="m",replica="silent"} 0.0',
        f"rackserve_engine_running_requests{{{heard}}} 3.0",
        f"rackserve_engine_waiting_requests{{{heard}}} 2.0",
        f"rackserve_engine_waiting_tokens{{{heard}}} 512.0",
        f"rackserve_engine_kv_usage_ratio{{{heard}}} 0.25",
        f"rackserve_engine_kv_capacity_tokens{{{heard}}} 4096.0",
        f"rackserve_engine_prefill_tokens_per_second{{{heard}}} 9000.0",
        f"rackserve_engine_decode_tokens_per_second{{{heard}}} 250.0",
    } == told
