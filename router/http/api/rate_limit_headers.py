"""Header lines that tell a tenant how its rate limits stand, in OpenAI's names or, for /v1/messages, in Anthropic's."""

from datetime import UTC, datetime, timedelta

from router.flow_control.tenant_limits.rate_limits import RateLimits, RateView

_ANTHROPIC = "/v1/messages"


def rate_limit_headers(rates: RateLimits, tenant: str, path: str, now_s: float) -> bytes:
    """Return header lines with limit, remainder and reset of a tenant's requests and tokens; b"" without limits.

    Args:
        rates: the tenants' limits.
        tenant: name of the tenant.
        path: the request's path, which says whose names to use.
        now_s: the time, monotonic seconds.
    """
    if not rates.applies:
        return b""
    requests, tokens = rates.view(tenant, now_s)
    lines_of = _anthropic if path.startswith(_ANTHROPIC) else _openai
    lines = [lines_of(what, view) for what, view in (("requests", requests), ("tokens", tokens)) if view is not None]
    return "".join(lines).encode()


def _openai(what: str, view: RateView) -> str:
    return (
        f"x-ratelimit-limit-{what}: {view.per_minute:.0f}\r\n"
        f"x-ratelimit-remaining-{what}: {int(view.remaining)}\r\n"
        f"x-ratelimit-reset-{what}: {duration(view.full_s)}\r\n"
    )


def _anthropic(what: str, view: RateView) -> str:
    full_at = datetime.now(UTC) + timedelta(seconds=view.full_s)
    return (
        f"anthropic-ratelimit-{what}-limit: {view.per_minute:.0f}\r\n"
        f"anthropic-ratelimit-{what}-remaining: {int(view.remaining)}\r\n"
        f"anthropic-ratelimit-{what}-reset: {full_at:%Y-%m-%dT%H:%M:%SZ}\r\n"
    )


def duration(seconds: float) -> str:
    """Return a duration as OpenAI writes it: `120ms`, `1.5s`, `6m0s`, `1h2m0s`."""
    ms = round(1000 * seconds)
    if ms < 1000:  # noqa: PLR2004 - milliseconds of a second
        return f"{ms}ms"
    minutes, rest_ms = divmod(ms, 60_000)
    shown = f"{rest_ms / 1000:g}s"
    if not minutes:
        return shown
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{shown}" if hours else f"{minutes}m{shown}"
