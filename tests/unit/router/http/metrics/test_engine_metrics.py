"""What a gateway tells Prometheus of engines."""

from dataclasses import replace

from prometheus_client import CollectorRegistry, generate_latest

from cluster.autoscaling.scaling_view import ScalingView
from router.dispatch.fleet import Fleet
from router.http.metrics.engine_metrics import EngineMetrics
from router.http.metrics.media_metrics import MediaMetrics
from router.http.metrics.replica_metrics import ReplicaMetrics
from router.http.metrics.scaling_metrics import ScalingMetrics
from router.http.metrics.speculation_metrics import SpeculationMetrics
from router.http.metrics.tier_metrics import TierMetrics
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.replicas.media_report import MediaReport
from router.replicas.ranks import divided
from router.replicas.speculation_report import SpeculationReport
from router.replicas.tier_report import TierReport
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


def test_what_speculation_brings_is_told_of_replicas_that_draft() -> None:
    """Acceptance by position; what is not known yet has no row, as 0 would be a speed-up."""
    fleet = Fleet(policy_named("round_robin"))
    fleet.set_replicas([Endpoint(name, "m", "h", 1, pool="p") for name in ("drafts", "new", "plain")])
    for name, told in (
        ("drafts", SpeculationReport(10, 20, (9, 5), 2.5, 1.9)),
        ("new", SpeculationReport(0, 0, (), 0.0, 0.0)),
        ("plain", None),
    ):
        report = LoadReport(1, 3, 2, 512, 0.25, 4096, 9000.0, 250.0, speculation=told)
        fleet.report(fleet.replicas[name], report)
    registry = CollectorRegistry()
    registry.register(SpeculationMetrics(lambda: list(fleet.replicas.values())))
    lines = {line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")}
    drafts, new = (f'domain="",model="m",pool="p",replica="{name}"' for name in ("drafts", "new"))
    by_position = 'domain="",model="m",pool="p",position="{}",replica="drafts"'
    assert lines == {
        f"rackserve_speculation_drafts_total{{{drafts}}} 10.0",
        f"rackserve_speculation_drafts_total{{{new}}} 0.0",
        f"rackserve_speculation_draft_tokens_total{{{drafts}}} 20.0",
        f"rackserve_speculation_draft_tokens_total{{{new}}} 0.0",
        f"rackserve_speculation_accepted_tokens_total{{{by_position.format(0)}}} 9.0",
        f"rackserve_speculation_accepted_tokens_total{{{by_position.format(1)}}} 5.0",
        f"rackserve_speculation_tokens_per_step{{{drafts}}} 2.5",
        f"rackserve_speculation_speedup{{{drafts}}} 1.9",
    }


def test_tiers_are_told_of_replicas_that_have_some() -> None:
    """Tokens by tier, what was fetched, and how long one takes; others have no rows."""
    fleet = Fleet(policy_named("round_robin"))
    fleet.set_replicas([Endpoint(name, "m", "h", 1, domain="d") for name in ("tiered", "plain", "silent")])
    report = LoadReport(1, 3, 2, 512, 0.25, 4096, 9000.0, 250.0)
    fleet.report(fleet.replicas["tiered"], replace(report, tiers=TierReport(100, 200, 300, 40, 0.5)))
    fleet.report(fleet.replicas["plain"], report)
    registry = CollectorRegistry()
    registry.register(TierMetrics(lambda: list(fleet.replicas.values())))
    lines = {line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")}
    tiered = 'domain="d",model="m",replica="tiered"'
    assert lines == {
        f'rackserve_replica_kv_held_tokens{{{tiered},tier="device"}} 100.0',
        f'rackserve_replica_kv_held_tokens{{{tiered},tier="host"}} 200.0',
        f'rackserve_replica_kv_held_tokens{{{tiered},tier="disk"}} 300.0',
        f"rackserve_replica_kv_fetched_tokens_total{{{tiered}}} 40.0",
        f"rackserve_replica_kv_fetch_seconds_per_token{{{tiered}}} 0.5",
    }


def test_media_are_counted_by_reason() -> None:
    """What each replica fetched and refused, as it said last."""
    fleet = Fleet(policy_named("round_robin"))
    fleet.set_replicas([Endpoint("sees", "m", "h", 1), Endpoint("silent", "m", "h", 2)])
    media = MediaReport(2, 4096, {"size": 1, "domain": 3})
    fleet.report(fleet.replicas["sees"], LoadReport(1, 3, 2, 512, 0.25, 4096, 9000.0, 250.0, media=media))
    registry = CollectorRegistry()
    registry.register(MediaMetrics(lambda: list(fleet.replicas.values())))
    lines = generate_latest(registry).decode().splitlines()
    sees = 'model="m",replica="sees"'
    assert {line for line in lines if not line.startswith("#")} == {
        f"rackserve_media_fetched_total{{{sees}}} 2.0",
        f"rackserve_media_fetched_bytes_total{{{sees}}} 4096.0",
        'rackserve_media_refused_total{model="m",reason="domain",replica="sees"} 3.0',
        'rackserve_media_refused_total{model="m",reason="size",replica="sees"} 1.0',
    }


def test_only_replicas_of_a_pool_have_its_label() -> None:
    """In every metric of replicas and of the autoscaler; others have no such label, not an empty one."""
    fleet = Fleet(policy_named("round_robin"))
    fleet.set_replicas([Endpoint("pooled", "m", "h", 1, pool="fast"), Endpoint("plain", "n", "h", 2)])
    views = {"m": (ScalingView(3, 4, 0.0, 2.5, pool="fast"),), "n": (ScalingView(1, 1, 0.0, 0.5),)}
    registry = CollectorRegistry()
    registry.register(EngineMetrics(lambda: list(fleet.replicas.values())))
    registry.register(ReplicaMetrics(lambda: list(fleet.replicas.values())))
    registry.register(ScalingMetrics(lambda: views))
    lines = {line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")}
    assert {
        'rackserve_engine_reporting{domain="",model="m",pool="fast",replica="pooled"} 0.0',
        'rackserve_engine_reporting{domain="",model="n",replica="plain"} 0.0',
        'rackserve_replica_in_flight{model="m",pool="fast",replica="pooled"} 0.0',
        'rackserve_replica_in_flight{model="n",replica="plain"} 0.0',
        'rackserve_target_replicas{model="m",pool="fast"} 3.0',
        'rackserve_target_replicas{model="n"} 1.0',
    } <= lines
    assert all(('pool="fast"' in line) == ('model="m"' in line) for line in lines)


def test_a_rank_has_a_row_of_its_replica() -> None:
    """Its ranks have the label `replica` in common, so that counting by it counts replicas; others lack `rank`."""
    fleet = Fleet(policy_named("round_robin"))
    fleet.set_replicas(divided([Endpoint("r", "m", "h", 1, ranks=2), Endpoint("s", "m", "h", 2, pool="p", ranks=2)]))
    for number, replica in enumerate(fleet.replicas.values()):
        fleet.report(replica, LoadReport(1, number, 0, 0, 0.0, 4096, 0.0, 0.0))
    registry = CollectorRegistry()
    registry.register(EngineMetrics(lambda: list(fleet.replicas.values())))
    registry.register(ReplicaMetrics(lambda: list(fleet.replicas.values())))
    lines = generate_latest(registry).decode().splitlines()
    running = [line for line in lines if line.startswith("rackserve_engine_running_requests{")]
    assert running == [
        'rackserve_engine_running_requests{domain="",model="m",pool="",rank="0",replica="r"} 0.0',
        'rackserve_engine_running_requests{domain="",model="m",pool="",rank="1",replica="r"} 1.0',
        'rackserve_engine_running_requests{domain="",model="m",pool="p",rank="0",replica="s"} 2.0',
        'rackserve_engine_running_requests{domain="",model="m",pool="p",rank="1",replica="s"} 3.0',
    ]
    assert 'rackserve_replica_accepting{model="m",pool="",rank="1",replica="r"} 1.0' in lines
