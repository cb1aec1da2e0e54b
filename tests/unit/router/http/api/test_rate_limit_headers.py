"""How a tenant is told of its rate limits."""

from datetime import UTC, datetime

import pytest

from router.flow_control.limits import TenantLimits
from router.flow_control.tenant_limits.rate_limits import RateLimits
from router.http.api.rate_limit_headers import duration, rate_limit_headers


def headers(rates: RateLimits, path: str) -> dict[str, str]:
    """Return the header lines for ann as a dict."""
    lines = rate_limit_headers(rates, "ann", path, 0.0).decode().splitlines()
    return dict(line.split(": ", 1) for line in lines)


def test_chats_are_told_in_openai_names() -> None:
    """Limit, remainder and reset of requests and tokens, as OpenAI's SDKs read them."""
    rates = RateLimits({"ann": TenantLimits(requests_per_minute=60.0, tokens_per_minute=6000.0)}, 0.0)
    rates.take("ann", 250.0, 0.0)
    assert headers(rates, "/v1/chat/completions") == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "9",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "750",
        "x-ratelimit-reset-tokens": "2.5s",
    }


def test_messages_are_told_in_anthropic_names() -> None:
    """/v1/messages has Anthropic's names, with the reset as a time; a limit that there is not is not told."""
    rates = RateLimits({"ann": TenantLimits(requests_per_minute=6.0)}, 0.0)
    rates.take("ann", 1.0, 0.0)
    told = headers(rates, "/v1/messages")
    reset = datetime.fromisoformat(told.pop("anthropic-ratelimit-requests-reset"))
    assert 5 < (reset - datetime.now(UTC)).total_seconds() < 15
    assert told == {"anthropic-ratelimit-requests-limit": "6", "anthropic-ratelimit-requests-remaining": "0"}


def test_nobody_else_is_told_anything() -> None:
    """A tenant without limits gets no such headers."""
    rates = RateLimits({"bob": TenantLimits(requests_per_minute=6.0)}, 0.0)
    assert headers(rates, "/v1/chat/completions") == {}


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0, "0ms"), (0.12, "120ms"), (1.5, "1.5s"), (360.0, "6m0s"), (3720.0, "1h2m0s")]
)
def test_durations_are_written_as_openai_does(seconds: float, shown: str) -> None:
    """Milliseconds below a second, then seconds, minutes and hours."""
    assert duration(seconds) == shown
