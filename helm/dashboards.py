"""Write the chart's Grafana dashboards: `python helm/dashboards.py` makes `helm/rackserve/dashboards/*.json` anew.

One panel is one line here: title, unit, and queries with their legends. Counters and histograms add up over gateways;
of replicas every gateway tells the same, so their figures are made one first (`max by (model, replica)`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent / "rackserve" / "dashboards"
GRAFANA_SCHEMA: Final = 39
"""Grafana 10 and newer read it."""
COLUMNS, WIDTH, HEIGHT = 24, 8, 8
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}

OURS: Final = 'model=~"$model"'
RATE: Final = "[$__rate_interval]"


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph: `queries` are (PromQL, legend)."""

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    what: str = ""


def per_model(expression: str) -> tuple[str, str]:
    """Return a query that adds a counter's rate up by model."""
    return f"sum by (model) (rate({expression}{{{OURS}}}{RATE}))", "{{model}}"


def quantile(share: float, metric: str, by: str = "model") -> tuple[str, str]:
    """Return a query for a quantile of a histogram."""
    query = f"histogram_quantile({share}, sum by ({by}, le) (rate({metric}_bucket{{{OURS}}}{RATE})))"
    return query, f"{{{{{by}}}}} p{share * 100:g}"


REPORTING: Final = "rackserve_engine_reporting"
"""Says whether a replica reports: 1 for each, whatever its ranks."""


def of_replicas(metric: str, how: str = "sum", by: str = "model") -> tuple[str, str]:
    """Return a query over replicas, each counted once; figures are those of all their data-parallel ranks."""
    inner = f"max by (model, pool, replica, {'' if metric == REPORTING else 'rank, '}domain) ({metric}{{{OURS}}})"
    return f"{how} by ({by}) ({inner})", f"{{{{{by}}}}}"


def each_replica(metric: str) -> tuple[str, str]:
    """Return a query for every replica."""
    return f"max by (model, pool, replica, rank, domain) ({metric}{{{OURS}}})", "{{replica}} {{rank}}"


def mean(metric: str) -> tuple[str, str]:
    """Return a query for a gauge that each gateway has its own view of."""
    return f"avg by (model) ({metric}{{{OURS}}})", "{{model}}"


REQUESTS: Final = "rackserve_requests_total"
FAILED: Final = "replica_failed|replica_timeout|no_replica|internal_error"
REFUSED: Final = "queue_full|deadline|no_capacity|rate_limited"

DRAFTS: Final = "rackserve_speculation_drafts_total"
DRAFTED: Final = "rackserve_speculation_draft_tokens_total"
ACCEPTED: Final = "rackserve_speculation_accepted_tokens_total"

DASHBOARDS: Final[dict[str, tuple[str, Sequence[Panel]]]] = {
    "overview": (
        "RackServe: overview",
        [
            Panel("Requests", "reqps", [per_model(REQUESTS)]),
            Panel(
                "Requests that did not end well, by outcome",
                "reqps",
                [(f'sum by (outcome) (rate({REQUESTS}{{outcome!="ok"}}{RATE}))', "{{outcome}}")],
                "Refusals of bad requests have no model; failures and refusals for want of room have one.",
            ),
            Panel(
                "Share of requests that failed",
                "percentunit",
                [(
                    f'(sum by (model) (rate({REQUESTS}{{{OURS},outcome=~"{FAILED}"}}{RATE})) or 0 * sum by (model) '
                    f"(rate({REQUESTS}{{{OURS}}}{RATE}))) / sum by (model) (rate({REQUESTS}{{{OURS}}}{RATE}))",
                    "{{model}}",
                )],
            ),  # fmt: skip
            Panel(
                "Time to first byte",
                "s",
                [quantile(share, "rackserve_time_to_first_byte_seconds") for share in (0.5, 0.95, 0.99)],
            ),
            Panel(
                "Duration",
                "s",
                [quantile(share, "rackserve_request_duration_seconds") for share in (0.5, 0.95, 0.99)],
            ),
            Panel(
                "Tokens a second",
                "short",
                [(f"sum by (kind) (rate(rackserve_tokens_total{{{OURS}}}{RATE}))", "{{kind}}")],
                "Counted when a request ends. Cached tokens are part of the prompt's, reasoning of the completion's.",
            ),
            Panel(
                "Reasoning, of the tokens generated",
                "percentunit",
                [(
                    f'sum by (model) (rate(rackserve_tokens_total{{kind="reasoning",{OURS}}}{RATE})) / '
                    f'sum by (model) (rate(rackserve_tokens_total{{kind="completion",{OURS}}}{RATE}))',
                    "{{model}}",
                )],
                "As far as engines tell; it is what users of a reasoning model wait for before its answer's text.",
            ),
            Panel("Replicas heard of", "short", [of_replicas(REPORTING)]),
            Panel(
                "Requests running and waiting",
                "short",
                [
                    (of_replicas("rackserve_engine_running_requests")[0], "{{model}} running"),
                    (of_replicas("rackserve_engine_waiting_requests")[0], "{{model}} waiting in engines"),
                    (f"sum by (model) (rackserve_waiting_requests{{{OURS}}})", "{{model}} waiting in gateways"),
                ],
            ),
            Panel("Prefix hit ratio", "percentunit", [mean("rackserve_prefix_hit_ratio")]),
            Panel(
                "Client connections, and probes of plain servers' rates",
                "short",
                [
                    ("sum(rackserve_client_connections)", "open"),
                    ("sum by (result) (rackserve_rate_probes_total)", "probes {{result}}"),
                ],
            ),
            Panel(
                "Longest stop of a gateway's event loop",
                "s",
                [("max(rackserve_loop_block_seconds)", "longest")],
                "No byte of any request moves meanwhile. Above a tenth of a second something is wrong, or the machine busy.",
            ),
            Panel(
                "Bodies that are coming in",
                "bytes",
                [("max(rackserve_incoming_body_bytes)", "of one gateway")],
            ),
            Panel(
                "Bytes in and out",
                "Bps",
                [
                    (per_model("rackserve_request_body_bytes_total")[0], "{{model}} in"),
                    (per_model("rackserve_response_bytes_total")[0], "{{model}} out"),
                ],
            ),
            Panel(
                "Retries and resumed streams",
                "reqps",
                [
                    (per_model("rackserve_retries_total")[0], "{{model}} retries"),
                    (per_model("rackserve_resumed_streams_total")[0], "{{model}} resumed"),
                ],
            ),
        ],
    ),
    "routing": (
        "RackServe: routing",
        [
            Panel(
                "Hit ratio, and what one infinite cache would have",
                "percentunit",
                [
                    (mean("rackserve_prefix_hit_ratio")[0], "{{model}}"),
                    (mean("rackserve_prefix_hit_ratio_ideal")[0], "{{model}} ideal"),
                ],
                "Shares of prompt tokens, over about the last thousand requests.",
            ),
            Panel(
                "Regret",
                "percentunit",
                [(f"1 - {mean('rackserve_prefix_hits_achieved')[0]}", "{{model}}")],
                "The share of possible hits that was missed: 0 is none.",
            ),
            Panel(
                "Imbalance",
                "short",
                [mean("rackserve_prefill_imbalance")],
                "The most uncached prompt tokens any replica got over the mean: 1 is even.",
            ),
            Panel(
                "Prompt tokens cached, of those answered",
                "percentunit",
                [(
                    f"{per_model('rackserve_cached_tokens_total')[0]} / {per_model('rackserve_prompt_tokens_total')[0]}",
                    "{{model}}",
                )],
            ),  # fmt: skip
            Panel(
                "Prompts computed on another replica",
                "reqps",
                [per_model("rackserve_handovers_total")],
                "One replica computed the prompt, another fetched its KV blocks and answered.",
            ),
            Panel(
                "How caches are known",
                "short",
                [(f"max by (model, mode) (rackserve_residency_replicas{{{OURS}}})", "{{model}} {{mode}}")],
                "exact: told by the engine, evictions included; observed: inferred from what was sent.",
            ),
            Panel(
                "Requests on each replica",
                "short",
                [(f"sum by (replica, rank) (rackserve_replica_in_flight{{{OURS}}})", "{{replica}}")],
            ),
            Panel(
                "Replicas left out",
                "short",
                [(f"count by (model) (max by (model, replica) (rackserve_replica_accepting{{{OURS}}}) < 1) or 0 * "
                  f"sum by (model) (rackserve_replica_accepting{{{OURS}}})", "{{model}}")],
                "Replicas that failed lately and get no requests for a moment.",
            ),  # fmt: skip
        ],
    ),
    "queues": (
        "RackServe: queues and autoscaling",
        [
            Panel(
                "Waiting in gateways",
                "short",
                [(f"sum by (model, priority) (rackserve_waiting_requests{{{OURS}}})", "{{model}} {{priority}}")],
            ),
            Panel("Work waiting, in tokens", "short", [(f"sum by (model) (rackserve_waiting_work_tokens{{{OURS}}})", "{{model}}")]),
            Panel(
                "Expected wait of the last in line",
                "s",
                [(f"max by (model) (rackserve_expected_wait_seconds{{{OURS}}})", "{{model}}")],
            ),
            Panel(
                "Time waited, by class",
                "s",
                [quantile(share, "rackserve_queue_wait_seconds", by="priority") for share in (0.5, 0.95, 0.99)],
            ),
            Panel(
                "Refused for want of room or over a limit",
                "reqps",
                [(f'sum by (outcome) (rate({REQUESTS}{{outcome=~"{REFUSED}"}}{RATE}))', "{{outcome}}")],
            ),
            Panel(
                "Requests in time, of those with an SLO",
                "percentunit",
                [
                    (
                        f'sum by (model, tenant) (rate(rackserve_slo_requests_total{{result="met",{OURS}}}{RATE})) / '
                        f"sum by (model, tenant) (rate(rackserve_slo_requests_total{{{OURS}}}{RATE}))",
                        "{{model}} {{tenant}}",
                    ),
                    (f"max by (model, tenant) (rackserve_slo_objective_ratio{{{OURS}}})", "{{model}} {{tenant}} objective"),
                ],
            ),
            Panel(
                "Requests not in time, by what was missed",
                "reqps",
                [(f'sum by (model, result) (rate(rackserve_slo_requests_total{{result!="met",{OURS}}}{RATE}))', "{{model}} {{result}}")],
                "late: the first token; slow: the others; failed: refused or broken off.",
            ),
            Panel(
                "Usage not written to disk",
                "s",
                [("max by (pod, instance) (rackserve_usage_unwritten_seconds)", "{{pod}} {{instance}}")],
                "About a second under load; more where the disk of `gateway.usage` takes nothing.",
            ),
            Panel("Bytes of waiting requests", "bytes", [("sum(rackserve_waiting_body_bytes)", "bodies")]),
            Panel(
                "Requests a replica is given at once",
                "short",
                [(f"avg by (model, replica, rank) (rackserve_replica_limit{{{OURS}}})", "{{replica}}")],
                "As learned: more would wait inside the engine.",
            ),
            Panel("Tokens waiting in engines", "short", [of_replicas("rackserve_engine_waiting_tokens")]),
            Panel(
                "Replicas asked for, there, and needed",
                "short",
                [
                    (f"max by (model, pool) (rackserve_target_replicas{{{OURS}}})", "{{model}} {{pool}} asked for"),
                    (of_replicas(REPORTING, by="model, pool")[0], "{{model}} {{pool}} there"),
                    (f"max by (model, pool) (rackserve_load_replicas{{{OURS}}})", "{{model}} {{pool}} the load takes"),
                    (f"max by (model, pool) (rackserve_max_replicas{{{OURS}}})", "{{model}} {{pool}} at most"),
                ],
                "Why the autoscaler asks for so many: `rackserve status`. Each pool of a model has lines of its own.",
            ),
            Panel(
                "Queue, in seconds of work",
                "s",
                [(f"max by (model, pool) (rackserve_queue_seconds{{{OURS}}})", "{{model}} {{pool}}")],
            ),
            Panel(
                "Running requests, by pool",
                "short",
                [(of_replicas("rackserve_engine_running_requests", by="model, pool")[0], "{{model}} {{pool}}")],
            ),
            Panel(
                "Tokens waiting in engines, by pool",
                "short",
                [(of_replicas("rackserve_engine_waiting_tokens", by="model, pool")[0], "{{model}} {{pool}}")],
            ),
        ],
    ),
    "racks": (
        "RackServe: racks",
        [
            Panel("Replicas", "short", [of_replicas(REPORTING, by="domain")]),
            Panel("Running requests", "short", [of_replicas("rackserve_engine_running_requests", by="domain")]),
            Panel("Waiting in engines", "short", [of_replicas("rackserve_engine_waiting_requests", by="domain")]),
            Panel("KV cache in use, mean", "percentunit", [of_replicas("rackserve_engine_kv_usage_ratio", "avg", "domain")]),
            Panel("KV cache in use, fullest replica", "percentunit", [of_replicas("rackserve_engine_kv_usage_ratio", "max", "domain")]),
            Panel(
                "Tokens generated a second while busy",
                "short",
                [of_replicas("rackserve_engine_decode_tokens_per_second", by="domain")],
            ),
            Panel(
                "Prompt tokens computed a second while busy",
                "short",
                [of_replicas("rackserve_engine_prefill_tokens_per_second", by="domain")],
            ),
            Panel(
                "Replicas by model",
                "short",
                [(of_replicas(REPORTING, by="domain, model")[0], "{{domain}} {{model}}")],
            ),
        ],
    ),
    "tenants": (
        "RackServe: tenants",
        [
            Panel("Requests", "reqps", [(f"sum by (tenant) (rate({REQUESTS}{RATE}))", "{{tenant}}")]),
            Panel(
                "Requests by outcome",
                "reqps",
                [(f"sum by (tenant, outcome) (rate({REQUESTS}{RATE}))", "{{tenant}} {{outcome}}")],
            ),
            Panel(
                "Tokens a second",
                "short",
                [(f"sum by (tenant, kind) (rate(rackserve_tokens_total{{{OURS}}}{RATE}))", "{{tenant}} {{kind}}")],
            ),
            Panel(
                "Share of prompt tokens cached",
                "percentunit",
                [(
                    f'sum by (tenant) (rate(rackserve_tokens_total{{{OURS},kind="cached"}}{RATE})) / '
                    f'sum by (tenant) (rate(rackserve_tokens_total{{{OURS},kind="prompt"}}{RATE}))',
                    "{{tenant}}",
                )],
            ),  # fmt: skip
            Panel(
                "Waiting",
                "short",
                [(f"sum by (tenant, priority) (rackserve_waiting_requests{{{OURS}}})", "{{tenant}} {{priority}}")],
            ),
            Panel(
                "Refused",
                "reqps",
                [(f'sum by (tenant, outcome) (rate({REQUESTS}{{outcome=~"{REFUSED}"}}{RATE}))', "{{tenant}} {{outcome}}")],
            ),
            Panel(
                "Tokens in the last day",
                "short",
                [(f"sum by (tenant) (increase(rackserve_tokens_total{{{OURS},kind=~\"prompt|completion\"}}[1d]))", "{{tenant}}")],
            ),
        ],
    ),
    "engines": (
        "RackServe: engines",
        [
            Panel("Running requests", "short", [each_replica("rackserve_engine_running_requests")]),
            Panel("Waiting requests", "short", [each_replica("rackserve_engine_waiting_requests")]),
            Panel("Prompt tokens not yet computed", "short", [each_replica("rackserve_engine_waiting_tokens")]),
            Panel("KV cache in use", "percentunit", [each_replica("rackserve_engine_kv_usage_ratio")]),
            Panel("KV cache, tokens", "short", [each_replica("rackserve_engine_kv_capacity_tokens")]),
            Panel("Prompt tokens a second while busy", "short", [each_replica("rackserve_engine_prefill_tokens_per_second")]),
            Panel("Tokens generated a second while busy", "short", [each_replica("rackserve_engine_decode_tokens_per_second")]),
            Panel("Heard of", "short", [each_replica("rackserve_engine_reporting")], "0: its telemetry is silent."),
            Panel(
                "Given requests",
                "short",
                [(f"max by (model, replica) (rackserve_replica_accepting{{{OURS}}})", "{{replica}}")],
                "0: it failed lately and is left out.",
            ),
            Panel(
                "Requests a second by adapter",
                "reqps",
                [(f"sum by (model, adapter) (rate(rackserve_adapter_requests_total{{{OURS}}}{RATE}))", "{{adapter}}")],
            ),
            Panel(
                "Adapters loaded, and slots",
                "short",
                [each_replica("rackserve_adapters_loaded"), (of_replicas("rackserve_adapter_slots")[0], "{{model}}: slots")],
            ),
            Panel(
                "Loads of adapters a second",
                "ops",
                [(f"max by (model, replica, rank) (rate(rackserve_adapter_loads_total{{{OURS}}}{RATE}))", "{{replica}}")],
                "Each stops its engine for the seconds of a load.",
            ),
            Panel("Seconds of a load", "s", [each_replica("rackserve_adapter_load_seconds")]),
            Panel("Adapters that cannot be served", "short", [each_replica("rackserve_adapters_failed")]),
            Panel(
                "Drafted tokens that were right, by position",
                "percentunit",
                [(
                    f"sum by (model, position) (max by (model, replica, rank, position) (rate({ACCEPTED}{{{OURS}}}{RATE}))) / on (model) "
                    f"group_left sum by (model) (max by (model, replica, rank) (rate({DRAFTS}{{{OURS}}}{RATE})))",
                    "{{model}} {{position}}",
                )],
                "Speculative decoding: a position counts only where all before it were right too.",
            ),
            Panel(
                "Drafted tokens, and those that were right",
                "short",
                [
                    (f"sum by (model) (max by (model, replica, rank) (rate({DRAFTED}{{{OURS}}}{RATE})))", "{{model}} drafted"),
                    (
                        f"sum by (model) (sum by (model, replica) (max by (model, replica, rank, position) (rate({ACCEPTED}{{{OURS}}}{RATE}))))",
                        "{{model}} right",
                    ),
                ],
                "Each a second.",
            ),
            Panel(
                "What replicas do of what was promised",
                "percentunit",
                [(
                    f"min by (model, pool, what) (max by (model, pool, replica, rank, what) (rackserve_plan_accuracy_ratio{{{OURS}}}))",
                    "{{model}} {{pool}} {{what}}",
                )],
                "The least of each pool's replicas. Only of models with planned, or whose GPUs and model are known.",
            ),
            Panel(
                "Weights, by number format",
                "bytes",
                [(
                    f"max by (model, format) (rackserve_replica_weights_bytes{{{OURS}}})",
                    "{{model}} {{format}}",
                )],
                "Of one replica, each weight counted once; 0: the model's family is not known.",
            ),
            Panel(
                "Requests, by what models are for",
                "reqps",
                [(
                    f"sum by (model) (rate({REQUESTS}{{{OURS}}}{RATE})) * on (model) group_left (task) "
                    f"max by (model, task) (clamp_max(rackserve_replica_weights_bytes{{{OURS}}}, 0) + 1)",
                    "{{model}} {{task}}",
                )],
                "embed, classify and score answer once a prompt is computed; without a task the checkpoint decides.",
            ),
            Panel(
                "Tokens a step, and speed-up over none",
                "short",
                [
                    (each_replica("rackserve_speculation_tokens_per_step")[0], "{{replica}} tokens a step"),
                    (each_replica("rackserve_speculation_speedup")[0], "{{replica}} speed-up"),
                ],
                "Below 1 speculative decoding makes answers slower.",
            ),
            Panel(
                "KV cache held, by tier",
                "short",
                [(
                    f"sum by (model, tier) (max by (model, pool, replica, rank, tier) (rackserve_replica_kv_held_tokens{{{OURS}}}))",
                    "{{model}} {{tier}}",
                )],
                "Tokens; a block may be in several tiers. Only of replicas with kv_cache.offload.",
            ),
            Panel(
                "Prompt tokens fetched from below the device",
                "short",
                [(
                    f"sum by (model) (max by (model, pool, replica, rank) (rate(rackserve_replica_kv_fetched_tokens_total{{{OURS}}}{RATE})))",
                    "{{model}}",
                )],
                "A second; without the tiers they would have been computed.",
            ),
            Panel("Seconds that fetching a token takes", "s", [each_replica("rackserve_replica_kv_fetch_seconds_per_token")]),
            Panel(
                "Images, audio and video fetched",
                "short",
                [(f"sum by (model) (max by (model, pool, replica, rank) (rate(rackserve_media_fetched_total{{{OURS}}}{RATE})))", "{{model}}")],
            ),
            Panel(
                "Images, audio and video fetched, bytes a second",
                "Bps",
                [(f"sum by (model) (max by (model, pool, replica, rank) (rate(rackserve_media_fetched_bytes_total{{{OURS}}}{RATE})))", "{{model}}")],
            ),
            Panel(
                "Images, audio and video refused, by reason",
                "short",
                [(f"sum by (reason) (max by (model, pool, replica, reason) (rate(rackserve_media_refused_total{{{OURS}}}{RATE})))", "{{reason}}")],
                "domain: the cluster file's media.domains does not allow the host; address: it is not public.",
            ),
        ],
    ),
}  # fmt: skip


def dashboard(name: str) -> dict[str, Any]:
    """Return a dashboard as Grafana imports it."""
    title, panels = DASHBOARDS[name]
    per_row = COLUMNS // WIDTH
    return {
        "uid": f"rackserve-{name}",
        "title": title,
        "tags": ["rackserve"],
        "schemaVersion": GRAFANA_SCHEMA,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [{"type": "dashboards", "tags": ["rackserve"], "title": "RackServe", "asDropdown": True, "includeVars": True, "keepTime": True}],
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"},
                {
                    "name": "model",
                    "type": "query",
                    "label": "Model",
                    "datasource": DATASOURCE,
                    "query": "label_values(rackserve_replica_accepting, model)",
                    "refresh": 2,
                    "multi": True,
                    "includeAll": True,
                    "allValue": ".*",
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": [
            {
                "id": number + 1,
                "type": "timeseries",
                "title": panel.title,
                "description": panel.what,
                "datasource": DATASOURCE,
                "gridPos": {"x": number % per_row * WIDTH, "y": number // per_row * HEIGHT, "w": WIDTH, "h": HEIGHT},
                "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
                "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
                "targets": [
                    {"refId": chr(ord("A") + k), "expr": query, "legendFormat": legend, "datasource": DATASOURCE}
                    for k, (query, legend) in enumerate(panel.queries)
                ],
            }
            for number, panel in enumerate(panels)
        ],
    }  # fmt: skip


def text(name: str) -> str:
    """Return a dashboard's file."""
    return json.dumps(dashboard(name), indent=2) + "\n"


def main() -> None:
    """Write every dashboard."""
    FOLDER.mkdir(exist_ok=True)
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(text(name))


if __name__ == "__main__":
    main()
