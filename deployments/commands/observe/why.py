"""`rackserve why`: shows why a request went to its replica, asked of the gateway that decided."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx
from rich.console import Console
from rich.text import Text

from cluster.errors import ClusterUnreachableError
from deployments.commands.status.fitted_table import print_rows
from deployments.commands.target.gateway_pages import GatewayPages, admin_ports
from deployments.commands.target.target import CommandTarget

ADMIN_TIMEOUT_S = 3.0


def why(request_id: str, target: CommandTarget, *, as_json: bool, console: Console) -> None:
    """Print the decision for a request, or without an id the last decisions.

    Args:
        request_id: the answer's `x-request-id`; "": the last requests.
        target: the gateways to ask.
        as_json: print the gateway's own JSON.
        console: where to print.

    Raises:
        ClusterUnreachableError: no gateway answers, or none remembers the request.
    """
    found = list(_ask(request_id, target))
    if request_id and not found:
        raise ClusterUnreachableError(f"no gateway remembers request {request_id!r}: each keeps its last 4096")
    if as_json:
        print(json.dumps(found[0] if request_id else found, indent=2))  # noqa: T201 - for programs, on stdout
    elif request_id:
        _print_entry(found[0], console)
    elif found:
        _print_latest(found, console)
    else:
        console.print("no request yet")


def _ask(request_id: str, target: CommandTarget) -> Iterator[dict[str, Any]]:
    """Yield the gateways' entries; only the gateway that decided about a request has one for it."""
    pages = GatewayPages(ADMIN_TIMEOUT_S)
    answered = False
    try:
        ports = admin_ports(target, pages)
        for port in ports:
            try:
                answer = pages.get(port, f"/why/{request_id}")
            except httpx.HTTPError:
                continue
            answered = True
            if answer.is_success:
                entries = answer.json()
                yield from entries if isinstance(entries, list) else [entries]
        if not answered:
            raise ClusterUnreachableError(f"no gateway answers at {', '.join(port.url for port in ports)}")
    finally:
        pages.close()


def _print_entry(entry: Mapping[str, Any], console: Console) -> None:
    _say(console, f"request {entry['request_id']} for {entry['model']}: {entry['outcome'] or 'running'}")
    if entry["prompt_tokens"] is not None:
        cached = entry["cached_tokens"] or 0
        _say(console, f"prompt {entry['prompt_tokens']} tokens, {cached} of them cached")
        _say(console, f"answer {entry['completion_tokens']} tokens")
    for attempt in entry["attempts"]:
        later = f", {attempt['after_s']:.2f} s after the first attempt" if attempt["after_s"] else ""
        _say(console, f"policy {attempt['policy']} picked {attempt['picked']} of {attempt['weighed_count']}{later}")
        held = f"{attempt['matched_bytes']} of the prompt's {attempt['prompt_bytes']} bytes"
        _say(console, f"  expected to hold {held}; first byte after {_seconds(attempt['ttft_s'])}")
        _print_candidates(attempt, console)


def _print_candidates(attempt: Mapping[str, Any], console: Console) -> None:
    rows = attempt["candidates"]
    terms = list(rows[0]["terms"]) if rows else []
    cells = [
        [
            row["replica_id"] + (" ←" if row["replica_id"] == attempt["picked"] else ""),
            f"{row['cost']:.4g}",
            *(f"{row['terms'][term]:.4g}" for term in terms),
        ]
        for row in rows
    ]
    print_rows(console, ["replica", attempt["unit"] or "cost", *terms], cells)


def _print_latest(entries: Sequence[Mapping[str, Any]], console: Console) -> None:
    rows = []
    for entry in entries:
        last = entry["attempts"][-1] if entry["attempts"] else {}
        held = f"{last['matched_bytes']} / {last['prompt_bytes']} B" if last else ""
        rows.append(
            [
                entry["request_id"],
                entry["model"],
                entry["outcome"] or "running",
                last.get("picked", ""),
                last.get("policy", ""),
                held,
                _seconds(last.get("ttft_s")),
            ]
        )
    print_rows(console, ["request", "model", "outcome", "replica", "policy", "expected held", "first byte"], rows)


def _say(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=True)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f} s"
