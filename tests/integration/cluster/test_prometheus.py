"""A real Prometheus scrapes two gateways of a running cluster under load: what it knows is what the clients saw."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from tests.integration.cluster.running_application import RunningApplication, wait_for
from tests.integration.prometheus.counted_load import CountedLoad
from tests.integration.prometheus.dashboard_queries import queries
from tests.integration.prometheus.programs import program
from tests.integration.prometheus.server import PrometheusServer

KEYS = {"acme": "key-of-acme", "zeta": "key-of-zeta", "limited": "key-of-limited"}
DATA_S = 60.0
"""The queries need two scrapes under load; a busy machine takes its time."""


def test_dashboards_alerts_and_counts(run_application: Callable[..., RunningApplication], tmp_path: Path) -> None:
    """Every dashboard query returns data, no rule is broken or fires, and the counts equal the clients' own."""
    program("prometheus")  # or skip before anything is started
    tenants: list[dict[str, object]] = [
        {"name": name, "key_sha256": hashlib.sha256(key.encode()).hexdigest()} for name, key in KEYS.items()
    ]
    tenants[-1]["requests_per_minute"] = 2
    application = run_application({"name": "m", "replicas": {"min": 2, "max": 3}}, replicas=2, tenants=tenants)
    wait_for("two gateways", lambda: (view := application.try_view()) and len(view.gateways) == 2)
    targets = [f"{gateway.host}:{gateway.admin_port}" for gateway in application.view().gateways]
    with PrometheusServer(targets, tmp_path) as prometheus:
        prometheus.next_scrape()  # counters are there before the load: rates see all of it
        load = CountedLoad(application.url, "m", KEYS)
        try:
            _every_query_has_data(prometheus)
            _rules_are_well(prometheus)
        finally:
            load.stop()
        prometheus.next_scrape()
        _counts_are_the_clients(prometheus, load)


def _every_query_has_data(prometheus: PrometheusServer) -> None:
    missing = queries()

    def ask_again() -> bool:
        for name in [name for name, expression in missing.items() if prometheus.query(expression)]:
            del missing[name]
        return not missing

    try:
        wait_for("data for every query", ask_again, DATA_S)
    except AssertionError as error:
        raise AssertionError(f"no data for: {missing}") from error


def _rules_are_well(prometheus: PrometheusServer) -> None:
    wait_for("all rules evaluated", lambda: all(rule["health"] != "unknown" for rule in prometheus.rules()), 30.0)
    for rule in prometheus.rules():
        assert rule["health"] == "ok", rule
        assert rule["state"] != "firing", rule


def _counts_are_the_clients(prometheus: PrometheusServer, load: CountedLoad) -> None:
    answered = 0
    for tenant, seen in load.seen.items():
        assert seen.outcomes["ok"] > 0, f"{tenant} was never answered"
        answered += seen.outcomes["ok"]
        told = prometheus.query(f'sum by (outcome) (rackserve_requests_total{{tenant="{tenant}"}})')
        assert {labels["outcome"]: value for labels, value in told} == dict(seen.outcomes), tenant
        told = prometheus.query(f'sum by (kind) (rackserve_tokens_total{{tenant="{tenant}"}})')
        assert {labels["kind"]: value for labels, value in told} == {
            kind: seen.tokens[kind] for kind in ("prompt", "cached", "completion")
        }, tenant
    assert load.seen["limited"].outcomes["rate_limited"] > 0
    assert load.seen["acme"].tokens["cached"] > 0
    for metric in ("rackserve_time_to_first_byte_seconds", "rackserve_queue_wait_seconds"):
        assert prometheus.number(f'sum({metric}_count{{model="m"}})') == answered, metric
    assert prometheus.number("sum(rackserve_prompt_tokens_total)") == sum(
        s.tokens["prompt"] for s in load.seen.values()
    )
    assert prometheus.number("sum(rackserve_cached_tokens_total)") == sum(
        s.tokens["cached"] for s in load.seen.values()
    )
    assert prometheus.number("sum(max by (replica) (rackserve_engine_reporting))") >= 2
    assert prometheus.number("max(rackserve_target_replicas)") >= 2
