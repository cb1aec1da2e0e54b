"""What the cluster file says of media."""

import pytest
from pydantic import ValidationError

from cluster.spec.model_parts.media_spec import MediaSpec


def test_by_default_media_come_inline_alone() -> None:
    """No domain is allowed."""
    assert MediaSpec().domains == ()


@pytest.mark.parametrize(
    "domain",
    ["images.example.com", "*.example.com", "cdn.example.com:8443", "localhost", "xn--bcher-kva.example", "a-b.c1"],
)
def test_a_host_is_a_name(domain: str) -> None:
    """With what is below it, or a port."""
    assert MediaSpec(domains=(domain,)).domains == (domain,)


@pytest.mark.parametrize(
    "domain",
    [
        "", "*", "*.", "https://a.example", "a.example/b", "A.example", "a.example.", "a..example", "a b", "-a.example",
        "a.*.example", "127.0.0.1", "2130706433", "0x7f000001", "0x7f.0x1", "a.1", "[::1]", "::1", "a.example:0",
        "a.example:", "a.example:123456", "user@a.example", "bücher.example",
    ],
)  # fmt: skip
def test_anything_else_is_a_mistake(domain: str) -> None:
    """No address in any spelling, no URL."""
    with pytest.raises(ValidationError):
        MediaSpec(domains=(domain,))
