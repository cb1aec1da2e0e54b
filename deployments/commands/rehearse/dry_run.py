"""Asks a gateway where a request would go, what is cached there and what it would cost, and prints the answer."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.text import Text

from cluster.errors import ClusterError, ClusterUnreachableError, SpecError, SpecProblem
from deployments.commands.status.fitted_table import print_rows
from deployments.commands.target.gateway_pages import AdminPort, GatewayPages, apps_url_on_ray, with_port
from deployments.commands.target.target import CommandTarget
from deployments.gateway.operators import headers_by_key
from deployments.process.direct_http import direct_client
from deployments.process.read_file import read_text
from router.prompt.invocations import INVOCATIONS, invoked_path

TIMEOUT_S = 10.0


def why_body(file: Path, target: CommandTarget, *, api_key: str, as_json: bool, console: Console) -> None:
    """Print where the request in a file would go.

    Args:
        file: its body: JSON with `messages`, `prompt` or `input`, and a model.
        target: the gateway to ask.
        api_key: the tenant's key; "": none is sent.
        as_json: print the gateway's own JSON.
        console: where to print.

    Raises:
        SpecError: the file is no body of a request.
        ClusterUnreachableError: no gateway answers.
        ClusterError: the gateway refuses the request.
    """
    body = read_text(file).encode()
    path = invoked_path(body)
    if path == INVOCATIONS:
        raise SpecError(str(file), [SpecProblem("", "no body of a request: JSON with messages, prompt or input")])
    url = target.urls[0] if target.urls else apps_url_on_ray(target.address)
    found = _ask(url.rstrip("/").removesuffix("/v1"), path, body, api_key)
    if as_json:
        print(json.dumps(found, indent=2))  # noqa: T201 - for programs, on stdout
    else:
        _show(found, console)


def _ask(url: str, path: str, body: bytes, api_key: str) -> dict[str, Any]:
    headers = {"content-type": "application/json", "x-rackserve-dry-run": "1"}
    if api_key:
        headers["authorization"] = f"Bearer {api_key}"
    with direct_client(headers=headers, timeout=httpx.Timeout(TIMEOUT_S)) as client:
        try:
            response = client.post(f"{url}{path}", content=body)
            if response.status_code == httpx.codes.NOT_FOUND and (apps := _apps_port(url)):
                response = client.post(f"{apps}{path}", content=body)
        except httpx.HTTPError as error:
            raise ClusterUnreachableError(f"nothing answers at {url}: {error}") from error
    if response.is_error:
        raise ClusterError(f"HTTP {response.status_code} from {response.url}: {response.text[:300]}")
    found: dict[str, Any] = response.json()
    return found


def _apps_port(url: str) -> str:
    """Return the apps' URL of the gateway whose admin port a URL names; "": it names none."""
    pages = GatewayPages()
    try:
        state = pages.state(AdminPort(url, headers_by_key()))
    finally:
        pages.close()
    return with_port(url, int(state["port"])) if state is not None else ""


def _show(found: Mapping[str, Any], console: Console) -> None:
    rows = found["candidates"]
    waits = f" after about {found['expected_wait_s']:g} s" if found["would"] == "wait" else ""
    whom = f" to {found['picked']}" if found["picked"] else ""
    prompt = f"{found['model']}: a prompt of about {found['prompt_tokens']} tokens"
    _say(console, f"{prompt} would {found['would']}{whom}{waits}")
    _say(console, f"policy {found['policy']}; {found['waiting']} requests wait now")
    if found["may_be_divided"]:
        _say(console, "its prompt may be computed by a prefill replica; the costs are those without one")
    terms = list(rows[0]["terms"]) if rows else []
    cells = [
        [
            row["replica_id"] + (" ←" if row["replica_id"] == found["picked"] else ""),
            f"{row['cost']:.4g}",
            f"{row['cached_tokens']}",
            *(f"{row['terms'][term]:.4g}" for term in terms),
        ]
        for row in rows
    ]
    print_rows(console, ["replica", found["unit"] or "cost", "cached tokens", *terms], cells)


def _say(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=True)
