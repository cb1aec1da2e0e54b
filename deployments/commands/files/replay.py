"""`rackserve replay`: sends a recorded trace through simulated replicas, with the live policy code."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from deployments.simulator.replay import ReplayResult

# ruff: noqa: FBT002, PLC0415, PLR0913, PLR0917
# Typer reads a command's options from its signature; imports inside, so that other commands need no simulator.

_COLUMNS = {
    "hit_ratio": "hits",
    "ideal_hit_ratio": "ideal",
    "imbalance": "imbalance",
    "ttft_mean_s": "TTFT mean",
    "ttft_p50_s": "p50",
    "ttft_p90_s": "p90",
    "ttft_p99_s": "p99",
}
_CAPTION = """hits: prompt blocks that were cached where they were sent; ideal: in one infinite cache;
imbalance: the most prefill any replica had to do over the mean; TTFT in seconds"""


def replay(
    trace: Annotated[
        Path, typer.Argument(help="A trace in the Mooncake format, or a file or folder that gateways captured.")
    ],
    policy: Annotated[
        str, typer.Option(help="How replicas are picked, as in the cluster file; `all` compares all policies.")
    ] = "expected_ttft",
    replicas: Annotated[int, typer.Option(min=1, max=4096, help="How many replicas.")] = 8,
    kv_blocks: Annotated[int, typer.Option(min=1, help="Blocks of 512 tokens each replica's cache holds.")] = 4000,
    prefill_rate: Annotated[float, typer.Option(min=1e-3, help="Tokens each replica prefills a second.")] = 8000.0,
    seed: Annotated[int, typer.Option(help="Runs with the same seed give the same figures, to the digit.")] = 0,
    limit: Annotated[int, typer.Option(min=0, help="Most requests taken, from the trace's start; 0: all.")] = 0,
    speedup: Annotated[float, typer.Option(min=1e-6, help="Factor by which the trace plays faster.")] = 1.0,
    observed: Annotated[
        bool,
        typer.Option(
            "--observed", help="Replicas don't stream what they cache: it is inferred from what was sent to them."
        ),
    ] = False,
    report_interval: Annotated[
        float, typer.Option(min=0.0, help="Seconds between two load reports of a replica.")
    ] = 0.1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Replay a trace in virtual time and print cache hits, balance and time to first token.

    The policies are those that serve live traffic, driven by a virtual clock; replicas are caches of `--kv-blocks`
    blocks that prefill one prompt after the other at `--prefill-rate`.
    """
    from deployments.simulator.replay import ReplaySettings
    from deployments.simulator.replay import replay as run
    from deployments.simulator.trace_file import read_trace
    from router.scheduling.registry import POLICIES

    requests = read_trace(trace, limit or None)
    names = sorted(POLICIES) if policy == "all" else [policy]
    results = [
        run(
            requests,
            ReplaySettings(
                policy=name,
                replicas=replicas,
                kv_blocks=kv_blocks,
                prefill_rate=prefill_rate,
                seed=seed,
                exact=not observed,
                report_interval_s=report_interval,
                speedup=speedup,
            ),
        )
        for name in names
    ]
    if as_json:
        figures = [result.as_dict() for result in results]
        typer.echo(json.dumps(figures if policy == "all" else figures[0]))
    else:
        Console().print(_table(results))


def _table(results: "list[ReplayResult]") -> Table:
    table = Table(title=f"{results[0].requests} requests", caption=_CAPTION)
    table.add_column("policy", no_wrap=True)
    for heading in _COLUMNS.values():
        table.add_column(heading, justify="right")
    for result in results:
        figures = result.as_dict()
        table.add_row(result.policy, *(f"{figures[name]:.3f}" for name in _COLUMNS))
    return table
