"""Which way a request went, as the gateway that had it remembers."""

from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from router.http.pages.admin_pages import WHY


async def remembered_way(request_id: str, admin_ports: Iterable[int], headers: Mapping[str, str] | None = None) -> str:
    """Return for people which replicas a request was given to, and when; "": no gateway remembers it.

    Args:
        request_id: its id.
        admin_ports: of the gateways, on loopback; those that do not answer at once are left out.
        headers: that show an operator.
    """
    async with httpx.AsyncClient(trust_env=False, timeout=1.0, headers=headers) as client:
        for port in admin_ports:
            try:
                answer = await client.get(f"http://127.0.0.1:{port}{WHY.decode()}{request_id}")
            except httpx.HTTPError:
                continue
            if answer.is_success:
                return _told(answer.json())
    return ""


def _told(entry: Mapping[str, Any]) -> str:
    ways = [_attempt(each) for each in entry["attempts"]]
    return f"{entry['model']}: {', '.join(ways)}; {entry['outcome']} after {entry['total_s'] or 0.0:.1f} s"


def _attempt(attempt: Mapping[str, Any]) -> str:
    by = f" with {attempt['prefilled_by']}" if attempt["prefilled_by"] else ""
    first = "" if attempt["ttft_s"] is None else f", first byte after {attempt['ttft_s']:.1f} s"
    return f"{attempt['after_s']:+.1f} s to {attempt['picked']}{by}{first}"
