"""For how long `retry-after` asks, in seconds or as a date."""

import pytest

from router.http.wire.upstream.retry_after import retry_after_s

WALL_S = 784_111_777.0
"""Sun, 06 Nov 1994 08:49:37 GMT, the RFC's own example."""


def _head(*headers: bytes) -> bytes:
    return b"\r\n".join((b"HTTP/1.1 503 Service Unavailable", *headers, b""))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (b"Retry-After: 7", 7.0),
        (b"retry-after:0", 0.0),
        (b"RETRY-AFTER: \t 1.5  ", 1.5),
        (b"Retry-After: Sun, 06 Nov 1994 08:50:07 GMT", 30.0),
        (b"Retry-After: Sunday, 06-Nov-94 08:49:47 GMT", 10.0),
        (b"Retry-After: Sun Nov  6 08:49:57 1994", 20.0),
        (b"Retry-After: Sun, 06 Nov 1994 08:00:00 GMT", 0.0),
    ],
)
def test_seconds_and_all_three_forms_of_a_date_are_read(header: bytes, seconds: float) -> None:
    """A date that has passed asks for nothing."""
    assert retry_after_s(_head(b"content-length: 0", header, b"x: y"), WALL_S) == seconds


@pytest.mark.parametrize("value", [b"", b"soon", b"-1", b"1e9", b"99999999999999", b"Sun, 99 Nov 1994 08:49:37 GMT"])
def test_what_cannot_be_read_is_as_if_it_were_not_there(value: bytes) -> None:
    """Nonsense is no error, and asks for no time."""
    assert retry_after_s(_head(b"retry-after: " + value), WALL_S) is None
    assert retry_after_s(_head(b"x-retry-after: 3"), WALL_S) is None


def test_a_date_is_taken_by_the_servers_own_clock() -> None:
    """Where the answer says when it was made, a gateway whose clock is an hour off waits no longer."""
    head = _head(b"Date: Sun, 06 Nov 1994 08:49:37 GMT", b"Retry-After: Sun, 06 Nov 1994 08:49:42 GMT")
    assert retry_after_s(head, WALL_S + 3600.0) == 5.0
