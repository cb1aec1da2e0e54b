"""A real Prometheus scrapes two gateways of gangs on two racks under load: what it knows is what the clients saw."""

import hashlib
import time
from pathlib import Path

from cluster.spec.cluster_spec import ClusterSpec
from tests.integration.cluster.running_application import RunningApplication, sim_spec, wait_for
from tests.integration.gangs.racks import Racks
from tests.integration.prometheus.counted_load import CountedLoad
from tests.integration.prometheus.dashboard_queries import queries
from tests.integration.prometheus.programs import program
from tests.integration.prometheus.server import PrometheusServer

KEYS = {"acme": "key-of-acme", "zeta": "key-of-zeta", "limited": "key-of-limited"}
ADAPTER = "m-adapter"
DATA_S = 60.0
"""The queries need two scrapes under load; a busy machine takes its time."""


def _spec(usage_folder: Path) -> ClusterSpec:
    tenants: list[dict[str, object]] = [
        {"name": name, "key_sha256": hashlib.sha256(key.encode()).hexdigest()} for name, key in KEYS.items()
    ]
    tenants[-1]["requests_per_minute"] = 2
    tenants[1]["slo"] = {"ttft_s": 1e-4, "share": 0.5}  # none is in time, and no alert fires for it
    # 40 of a rack's 72 GPUs: two gangs do not fit into one rack.
    model = {
        "name": "m",
        "source": "smollm2-135m",
        "task": "generate",
        "parallel": {"tensor": 40},
        "replicas": {"min": 2, "max": 3},
        "adapters": [{"name": ADAPTER, "source": "org/adapter"}],
        "slo": {"ttft_s": 60.0},
        "kv_cache": {"offload": {"cpu_gb": 1}},
        "speculative": {"method": "ngram", "tokens": 3},
        "planned": {"prefill_tokens_per_s": 10_000, "decode_tokens_per_s": 50, "kv_tokens": 100_000},
        "sim": {"image_tokens": 16, "adapter_load_s": 0.05, "reasoning_tokens": 4},
    }
    labels = {"rackserve.io/role": "head"}
    usage = {"folder": str(usage_folder)}
    name = f"seen-{time.monotonic_ns()}"
    return sim_spec(model, name=name, replicas=2, tenants=tenants, node_labels=labels, usage=usage)


def test_dashboards_alerts_and_counts(racks: Racks, tmp_path: Path) -> None:
    """Every query has data, those by rack for both racks, no rule is broken or fires, the counts are the clients'."""
    del racks
    program("prometheus")  # or skip before anything is started
    application = RunningApplication(_spec(tmp_path / "usage"))
    try:
        application.deploy(application.spec)
        application.wait_until_ready()
        wait_for("two gateways", lambda: (view := application.try_view()) and len(view.gateways) == 2)
        wait_for("two replicas", lambda: len(application.replicas("m")) == 2)
        targets = [f"{gateway.host}:{gateway.admin_port}" for gateway in application.view().gateways]
        with PrometheusServer(targets, tmp_path) as prometheus:
            prometheus.next_scrape()  # counters are there before the load: rates see all of it
            load = CountedLoad(application.url, "m", KEYS, adapter=ADAPTER)
            try:
                _every_query_has_data(prometheus)
                _every_panel_of_racks_shows_both(prometheus)
                _rules_are_well(prometheus)
            finally:
                load.stop()
            prometheus.next_scrape()
            _counts_are_the_clients(prometheus, load)
    finally:
        application.delete()


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


def _every_panel_of_racks_shows_both(prometheus: PrometheusServer) -> None:
    panels = {name: expression for name, expression in queries().items() if name.startswith("racks /")}
    assert len(panels) >= 8
    for name, expression in panels.items():
        assert {labels.get("domain") for labels, _ in prometheus.query(expression)} == {"rack-0", "rack-1"}, name
    replicas = prometheus.query(panels["racks / Replicas / A"])
    assert {labels["domain"]: value for labels, value in replicas} == {"rack-0": 1.0, "rack-1": 1.0}


def _rules_are_well(prometheus: PrometheusServer) -> None:
    wait_for("all rules evaluated", lambda: all(rule["health"] != "unknown" for rule in prometheus.rules()), 30.0)
    for rule in prometheus.rules():
        assert rule["health"] == "ok", rule
        assert rule.get("state", "inactive") != "firing", rule


def _counts_are_the_clients(prometheus: PrometheusServer, load: CountedLoad) -> None:
    answered = 0
    for tenant, seen in load.seen.items():
        assert seen.outcomes["ok"] > 0, f"{tenant} was never answered"
        answered += seen.outcomes["ok"] + seen.outcomes["upstream_status"]  # the engine refuses images, in an answer
        told = prometheus.query(f'sum by (outcome) (rackserve_requests_total{{tenant="{tenant}"}})')
        assert {labels["outcome"]: value for labels, value in told} == dict(seen.outcomes), tenant
        told = prometheus.query(f'sum by (kind) (rackserve_tokens_total{{tenant="{tenant}"}})')
        assert {labels["kind"]: value for labels, value in told} == {
            kind: seen.tokens[kind] for kind in ("prompt", "cached", "completion", "reasoning")
        }, tenant
    assert load.seen["limited"].outcomes["rate_limited"] > 0
    assert load.seen["acme"].tokens["cached"] > 0
    assert 0 < load.seen["acme"].tokens["reasoning"] < load.seen["acme"].tokens["completion"]
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
