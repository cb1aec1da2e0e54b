"""For each alert: series under which it fires, with which labels, and series under which it must be quiet."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AlertCase:
    """One minute between samples; values in promtool's notation (`a+bxn`: n more samples, each b above the last).

    Attributes:
        alert: its name.
        fires: series → values; at `at` the alert fires.
        labels: what it fires with, besides `severity`.
        quiet: series → values under which it does not fire at `at`, though they come close.
        at: when to look.
    """

    alert: str
    fires: Mapping[str, str]
    quiet: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    at: str = "20m"


MODEL = {"model": "m"}
REPLICA = {"model": "m", "replica": "m-1"}
PLACED = {**REPLICA, "domain": "rack-0"}


def _outcomes(bad: str, per_minute: int, of: int = 600) -> dict[str, str]:
    return {
        'rackserve_requests_total{model="m",tenant="t",outcome="ok"}': f"0+{of - per_minute}x40",
        f'rackserve_requests_total{{model="m",tenant="t",outcome="{bad}"}}': f"0+{per_minute}x40",
    }


def _first_bytes(slow_per_minute: int) -> dict[str, str]:
    series = 'rackserve_time_to_first_byte_seconds_bucket{{model="m",le="{}"}}'
    return {
        series.format("10.0"): f"0+{100 - slow_per_minute}x40",
        series.format("30.0"): "0+100x40",
        series.format("+Inf"): "0+100x40",
    }


def _in_time(missed_per_minute: int, of: int = 100) -> dict[str, str]:
    """Return the series of a tenant whose objective is 95 %; the first hour is without a miss."""
    series = 'rackserve_slo_requests_total{{model="m",tenant="t",result="{}"}}'
    return {
        series.format("met"): f"0+{of}x60 {60 * of + of - missed_per_minute}+{of - missed_per_minute}x500",
        series.format("late"): f"0x60 {missed_per_minute}+{missed_per_minute}x500",
        'rackserve_slo_objective_ratio{model="m",tenant="t"}': "0.95x600",
    }


def _engine(name: str) -> str:
    return f'rackserve_engine_{name}{{model="m",replica="m-1",domain="rack-0"}}'


def _adapter_loads(first: str) -> dict[str, str]:
    """Return the series, by two gateways, of two replicas whose loads take 0.3 s, the second with 45 a minute."""
    found: dict[str, str] = {}
    for gateway in ("a", "b"):
        for replica, loads in (("m-1", first), ("m-2", "0+45x40")):
            labels = f'{{model="m",replica="{replica}",instance="{gateway}"}}'
            found[f"rackserve_adapter_loads_total{labels}"] = loads
            found[f"rackserve_adapter_load_seconds{labels}"] = "0.3x40"
            found[f"rackserve_adapter_slots{labels}"] = "4x40"
    return found


CASES = (
    AlertCase("RackServeNoGateway", {}, {"rackserve_client_connections": "0x40"}),
    AlertCase(
        "RackServeModelUnserved",
        fires={
            'rackserve_waiting_requests{model="m",tenant="t",priority="normal"}': "3x40",
            'rackserve_replica_accepting{model="m",replica="m-1"}': "0x40",
            'rackserve_replica_accepting{model="other",replica="o-1"}': "1x40",
        },
        quiet={
            'rackserve_waiting_requests{model="m",tenant="t",priority="normal"}': "3x40",
            'rackserve_replica_accepting{model="m",replica="m-1"}': "1x40",
        },
        labels=MODEL,
    ),
    AlertCase(
        "RackServeUsageNotWritten",
        {'rackserve_usage_unwritten_seconds{pod="p",instance="a"}': "0+60x40"},
        {'rackserve_usage_unwritten_seconds{pod="p",instance="a"}': "1x40"},
        labels={"pod": "p", "instance": "a"},
    ),
    AlertCase("RackServeRequestsFail", _outcomes("replica_failed", 12), _outcomes("replica_failed", 3), labels=MODEL),
    # 80 % missed burns 16 times as fast as it may; 60 % 12 times.
    AlertCase("RackServeSloBurnsFast", _in_time(80), _in_time(60), labels={**MODEL, "tenant": "t"}, at="3h"),
    AlertCase("RackServeSloBurns", _in_time(40), _in_time(20), labels={**MODEL, "tenant": "t"}, at="8h"),
    AlertCase("RackServeFirstByteSlow", _first_bytes(8), _first_bytes(2), labels=MODEL),
    AlertCase(
        "RackServeQueueLong",
        fires={'rackserve_expected_wait_seconds{model="m",instance="a"}': "45x40"},
        quiet={'rackserve_expected_wait_seconds{model="m",instance="a"}': "45x14 2x26"},
        labels=MODEL,
    ),
    AlertCase("RackServeRequestsRefused", _outcomes("queue_full", 60), _outcomes("rate_limited", 60), labels=MODEL),
    AlertCase(
        "RackServeTenantLimited",
        _outcomes("rate_limited", 200),
        _outcomes("rate_limited", 60),
        labels={"tenant": "t"},
        at="35m",
    ),
    AlertCase(
        "RackServeReplicasMissing",
        fires={'rackserve_target_replicas{model="m",instance="a"}': "3x40", _engine("reporting"): "1x40"},
        quiet={'rackserve_target_replicas{model="m",instance="a"}': "1x40", _engine("reporting"): "1x40"},
        labels=MODEL,
        at="30m",
    ),
    AlertCase(
        "RackServeReplicasMissing",
        fires={
            **{f'rackserve_target_replicas{{model="m",pool="{pool}"}}': "2x40" for pool in "ab"},
            'rackserve_engine_reporting{model="m",pool="a",replica="m-1"}': "1x40",
            'rackserve_engine_reporting{model="m",pool="a",replica="m-2"}': "1x40",
            'rackserve_engine_reporting{model="m",pool="b",replica="m-3"}': "1x40",
        },
        quiet={
            'rackserve_target_replicas{model="m",pool="b"}': "1x40",
            'rackserve_engine_reporting{model="m",pool="b",replica="m-3"}': "1x40",
        },
        labels={**MODEL, "pool": "b"},
        at="30m",
    ),
    AlertCase(
        "RackServeAutoscalerAtMaximum",
        fires={
            'rackserve_target_replicas{model="m"}': "4x40",
            'rackserve_max_replicas{model="m"}': "4x40",
            'rackserve_queue_seconds{model="m"}': "25x40",
        },
        quiet={
            'rackserve_target_replicas{model="m"}': "4x40",
            'rackserve_max_replicas{model="m"}': "4x40",
            'rackserve_queue_seconds{model="m"}': "2x40",
        },
        labels=MODEL,
    ),
    AlertCase(
        "RackServeReplicaSilent",
        fires={_engine("reporting"): "0x40"},
        quiet={
            'rackserve_engine_reporting{model="m",replica="m-1",domain="rack-0",instance="a"}': "0x40",
            'rackserve_engine_reporting{model="m",replica="m-1",domain="rack-0",instance="b"}': "1x40",
        },
        labels=PLACED,
    ),
    AlertCase(
        "RackServeReplicaFailing",
        fires={'rackserve_replica_accepting{model="m",replica="m-1"}': "0x40"},
        quiet={'rackserve_replica_accepting{model="m",replica="m-1"}': "0 0 1 0 0 1 0 0 1 0 0 1 0 0 1 0 0 1 0 0 1"},
        labels=REPLICA,
    ),
    AlertCase(
        "RackServeKvCacheFull",
        fires={_engine("kv_usage_ratio"): "0.99x40", _engine("waiting_requests"): "4x40"},
        quiet={_engine("kv_usage_ratio"): "0.99x40", _engine("waiting_requests"): "0x40"},
        labels=PLACED,
    ),
    AlertCase(
        "RackServePlanMissed",
        fires={
            'rackserve_plan_accuracy_ratio{model="m",replica="m-1",what="decode",instance="a"}': "0.5x60",
            'rackserve_plan_accuracy_ratio{model="m",replica="m-1",what="decode",instance="b"}': "0.5x60",
            'rackserve_plan_accuracy_ratio{model="m",replica="m-1",what="prefill",instance="a"}': "1.0x60",
            'rackserve_plan_accuracy_ratio{model="m",replica="m-2",what="decode",instance="a"}': "0.9x60",
        },
        quiet={
            'rackserve_plan_accuracy_ratio{model="m",replica="m-1",what="decode"}': "0.5x10 1.0x50",
            'rackserve_plan_accuracy_ratio{model="m",replica="m-1",what="prefill"}': "0.85x60",
        },
        labels={**REPLICA, "what": "decode"},
        at="20m",
    ),
    AlertCase(
        "RackServeSpeculationSlows",
        fires={
            'rackserve_speculation_speedup{model="m",replica="m-1",instance="a"}': "0.8x60",
            'rackserve_speculation_speedup{model="m",replica="m-1",instance="b"}': "0.8x60",
            'rackserve_speculation_speedup{model="m",replica="m-2",instance="a"}': "1.0x60",
            'rackserve_speculation_speedup{model="fast",replica="f-1",instance="a"}': "2.4x60",
        },
        quiet={
            'rackserve_speculation_speedup{model="m",replica="m-1"}': "0.8x10 1.2x50",
            'rackserve_speculation_tokens_per_step{model="m",replica="m-1"}': "0.8x60",
        },
        labels=MODEL,
        at="20m",
    ),
    AlertCase(
        "RackServeStreamsResumed",
        fires={'rackserve_resumed_streams_total{model="m"}': "0+1x40"},
        quiet={'rackserve_resumed_streams_total{model="m"}': "7x40"},
        labels=MODEL,
    ),
    AlertCase(
        "RackServeRoutingRegret",
        fires={
            'rackserve_prefix_hits_achieved{model="m",instance="a"}': "0.4x60",
            'rackserve_prefix_hits_achieved{model="m",instance="b"}': "0.5x60",
            'rackserve_prefix_hit_ratio_ideal{model="m"}': "0.7x60",
        },
        quiet={
            'rackserve_prefix_hits_achieved{model="m"}': "0.4x60",
            'rackserve_prefix_hit_ratio_ideal{model="m"}': "0.1x60",
        },
        labels=MODEL,
        at="50m",
    ),
    AlertCase(
        "RackServePrefillImbalance",
        fires={'rackserve_prefill_imbalance{model="m"}': "2.5x60"},
        quiet={'rackserve_prefill_imbalance{model="m"}': "1.8x60"},
        labels=MODEL,
        at="50m",
    ),
    AlertCase(
        "RackServeAdapterFailed",
        fires={'rackserve_adapters_failed{model="m",replica="m-1"}': "1x40"},
        quiet={'rackserve_adapters_failed{model="m",replica="m-1"}': "0x40"},
        labels=REPLICA,
    ),
    AlertCase(
        "RackServeAdaptersThrash",
        fires=_adapter_loads("0+60x40"),
        quiet=_adapter_loads("0+15x40"),
        labels=MODEL,
        at="30m",
    ),
)
