"""`rackserve status`: shows what runs, of a Ray cluster or of gateways named by their URLs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from rich.console import Console
from rich.text import Text

from cluster.spec.model_spec import label_of
from cluster.spec.role import Role
from deployments.commands.status.adapters import adapter_lines
from deployments.commands.status.attainment_line import attainment_lines
from deployments.commands.status.fitted_table import print_rows
from deployments.commands.status.gateway_report import report_of_gateways
from deployments.commands.status.plan_line import plan_lines
from deployments.commands.status.scaling_table import print_scaling, starving_pools
from deployments.commands.status.speculation_line import speculation_lines
from deployments.commands.status.waiting_gangs import print_waiting
from deployments.commands.target.gateway_pages import in_url
from deployments.commands.target.target import CommandTarget
from router.replicas.start_phases import StartPhases


def status(target: CommandTarget, *, as_json: bool, console: Console) -> None:
    """Print what RackServe runs.

    Args:
        target: the Ray cluster or the gateways to ask.
        as_json: print everything as JSON.
        console: where tables go.

    Raises:
        ClusterUnreachableError: there is no Ray cluster, no RackServe on it, or no gateway answers.
    """
    if target.urls:
        report = report_of_gateways(target.urls)
    else:
        from deployments.commands.status.status_report import report_of_ray  # noqa: PLC0415 - it imports Ray, seconds

        report = report_of_ray(target.address)
    if as_json:
        print(json.dumps(report, indent=2))  # noqa: T201 - for programs, on stdout
        return
    for application in report["applications"]:
        _print_application(application, console)
    print_waiting(report["waiting"], console)


def start_lines(models: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each pool that says what the slowest start of its replicas went to, where that is known."""
    for name, model in models.items():
        starts: dict[str, list[StartPhases]] = {}
        for replica in model["replicas"]:
            if replica.get("start"):
                starts.setdefault(label_of(name, replica.get("pool", "")), []).append(StartPhases(**replica["start"]))
        for label, found in starts.items():
            slowest = max(found, key=lambda start: start.total_s)
            many = f", the slowest of {len(found)}" if len(found) > 1 else ""
            yield f"start of {label}: {slowest.total_s:.1f} s ({slowest.in_words()}){many}"


def _say(console: Console, line: str) -> None:
    console.print(Text(line.rstrip()), soft_wrap=True)


def _replica_rows(name: str, model: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield a row for each replica of a model, and below it one for each of its data-parallel ranks."""
    for replica in model["replicas"]:
        address = f"{in_url(replica['host'])}:{replica['http_port']}"
        label = label_of(name, replica.get("pool", "")) + (
            f" ({role})" if (role := replica.get("role", Role.BOTH)) != Role.BOTH else ""
        )
        yield [replica["replica_id"], label, model["policy"], address, *_load(replica["report"])]
        for rank in replica.get("ranks", ()):
            yield [f"  rank {rank['rank']}", "", "", "", *_load(rank["report"])]
    if not model["replicas"]:
        yield ["none", name, model["policy"], "", "", "", ""]


def _load(report: Mapping[str, Any] | None) -> tuple[str, str, str]:
    if report is None:
        return "?", "?", "?"
    return str(report["running"]), str(report["waiting"]), f"{report['kv_usage']:.0%}"


def _print_gateways(gateways: Sequence[Mapping[str, Any]], console: Console) -> None:
    for gateway in gateways:
        ready = "ready" if gateway["ready"] else f"not ready: {gateway['reason']}"
        _say(console, f"gateway {gateway['url']} (admin {gateway['admin_url']}): {ready}")
    problems = {gateway.get("head_problem", "") for gateway in gateways}
    for problem in sorted(filter(None, problems)):
        _say(console, problem)


def _print_application(application: Mapping[str, Any], console: Console) -> None:
    _say(console, f"{application['name']}: {application['status']} {application['message']}")
    _print_gateways(application["gateways"], console)
    for name, reason in application["missing"].items():
        _say(console, f"{name} waits for machines that are not there: {reason}")
    for machine, failed in application.get("away", {}).items():
        _say(console, f"machine of the launch that has not joined: {machine}" + (f": {failed}" if failed else ""))
    for line in application.get("cache", ()):
        _say(console, line)
    for name, deployment in application["deployments"].items():
        states = ", ".join(f"{count} {state.lower()}" for state, count in deployment["replicas"].items() if count)
        line = f"deployment {name}: {deployment['status'].lower()} ({states}) {deployment['message']}"
        _say(console, line)
    for name, model in application["models"].items():
        queue = model["queue"]
        if queue["waiting"] or queue["refused"]:
            held = f", {queue['held']} of them for a first replica" if queue["held"] else ""
            drain = f", about {queue['drain_s']:.0f} s of work" if queue["drain_s"] else ""
            line = f"queue {name}: {queue['waiting']} waiting{held}{drain}; {queue['refused']} refused so far"
            _say(console, line)
    rows = list(chain.from_iterable(_replica_rows(name, model) for name, model in application["models"].items()))
    print_rows(console, ["replica", "model", "policy", "address", "running", "waiting", "KV in use"], rows)
    print_scaling(application["models"], console)
    models = application["models"]
    told = (attainment_lines(models), speculation_lines(models), starving_pools(models), adapter_lines(models))
    for line in chain(start_lines(models), plan_lines(models), *told):
        _say(console, line)
