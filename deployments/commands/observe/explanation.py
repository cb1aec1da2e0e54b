"""Reads from a gateway's `/why/REQUEST_ID` how a request was routed, and writes it in lines for people."""

from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from deployments.gateway.operators import headers_by_key
from deployments.process.direct_http import direct_get

TIMEOUT_S = 5.0


def fetch_explanation(admin_url: str, request_id: str) -> Mapping[str, Any]:
    """Return the entry for a request from the gateway at `admin_url`; empty if it has none or does not answer."""
    try:
        response = direct_get(f"{admin_url}/why/{request_id}", TIMEOUT_S, headers_by_key())
        return dict(response.json()) if response.is_success else {}
    except (httpx.HTTPError, ValueError):
        return {}


def explanation_lines(explanation: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each decision and one for each of its candidates, the cheapest first."""
    for attempt in explanation["attempts"]:
        matched = ""
        if attempt["prompt_bytes"] and attempt["matched_bytes"]:
            matched = f", which held {attempt['matched_bytes'] / attempt['prompt_bytes']:.0%} of the prompt"
        elsewhere = f", for which {attempt['prefilled_by']} computed the prompt" if attempt.get("prefilled_by") else ""
        yield f"{attempt['policy']} picked {attempt['picked']} of {attempt['weighed_count']}{matched}{elsewhere}"
        for candidate in attempt["candidates"]:
            terms = ", ".join(f"{name} {value:.3g}" for name, value in candidate["terms"].items())
            cost = f"{candidate['cost']:.3g} {attempt['unit']}".rstrip()
            prompt = f"{candidate['prefill_id']} for " if candidate.get("prefill_id") else ""
            yield f"  {prompt}{candidate['replica_id']}: {cost}" + (f" ({terms})" if terms else "")
