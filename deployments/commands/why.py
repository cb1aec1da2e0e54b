"""`rackserve why`: shows why a request went to its replica, asked of the gateway that decided."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from cluster.errors import ClusterUnreachableError
from deployments.gateway.operators import headers_by_key

ADMIN_TIMEOUT_S = 3.0


def why(request_id: str, *, admin_urls: Sequence[str], as_json: bool, console: Console) -> None:
    """Print the decision for a request, or without an id the last decisions.

    Args:
        request_id: the answer's `x-request-id`; "": the last requests.
        admin_urls: the gateways' admin addresses.
        as_json: print the gateway's own JSON.
        console: where to print.

    Raises:
        ClusterUnreachableError: no gateway answers, or none remembers the request.
    """
    found = list(_ask(request_id, admin_urls))
    if request_id and not found:
        raise ClusterUnreachableError(f"no gateway remembers request {request_id!r}: each keeps its last 4096")
    if as_json:
        print(json.dumps(found[0] if request_id else found, indent=2))  # noqa: T201 - for programs, on stdout
    elif request_id:
        _print_entry(found[0], console)
    else:
        _print_latest(found, console)


def _ask(request_id: str, admin_urls: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the gateways' entries; only the gateway that decided about a request has one for it."""
    answered = False
    for url in admin_urls:
        try:
            answer = httpx.get(f"{url.rstrip('/')}/why/{request_id}", headers=headers_by_key(), timeout=ADMIN_TIMEOUT_S)
        except httpx.HTTPError:
            continue
        answered = True
        if answer.is_success:
            entries = answer.json()
            yield from entries if isinstance(entries, list) else [entries]
    if not answered:
        raise ClusterUnreachableError(
            f"no gateway answers at {', '.join(admin_urls)}; name its admin port: --admin URL"
        )


def _print_entry(entry: Mapping[str, Any], console: Console) -> None:
    console.print(f"request {entry['request_id']} for {entry['model']}: {entry['outcome'] or 'running'}", markup=False)
    if entry["prompt_tokens"] is not None:
        console.print(
            f"prompt {entry['prompt_tokens']} tokens, {entry['cached_tokens'] or 0} of them cached; "
            f"answer {entry['completion_tokens']} tokens"
        )
    for attempt in entry["attempts"]:
        console.print(
            f"policy {attempt['policy']} picked {attempt['picked']} of {attempt['weighed_count']}; it was expected to "
            f"hold {attempt['matched_bytes']} of the prompt's {attempt['prompt_bytes']} bytes; first byte after "
            f"{_seconds(attempt['ttft_s'])}",
            highlight=False,
        )
        console.print(_candidates_table(attempt))


def _candidates_table(attempt: Mapping[str, Any]) -> Table:
    rows = attempt["candidates"]
    terms = list(rows[0]["terms"]) if rows else []
    table = Table("replica", attempt["unit"], *terms)
    for row in rows:
        picked = " ←" if row["replica_id"] == attempt["picked"] else ""
        table.add_row(
            row["replica_id"] + picked, f"{row['cost']:.4g}", *(f"{row['terms'][term]:.4g}" for term in terms)
        )
    return table


def _print_latest(entries: Sequence[Mapping[str, Any]], console: Console) -> None:
    table = Table("request", "model", "outcome", "replica", "policy", "expected held", "first byte")
    for entry in entries:
        last = entry["attempts"][-1]
        table.add_row(
            entry["request_id"],
            entry["model"],
            entry["outcome"] or "running",
            last["picked"],
            last["policy"],
            f"{last['matched_bytes']} / {last['prompt_bytes']} B",
            _seconds(last["ttft_s"]),
        )
    console.print(table)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f} s"
