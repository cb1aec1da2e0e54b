"""Which headers of a request are read, and what several lines of one name mean."""

READ = frozenset(
    {
        b"accept",
        b"access-control-request-headers",
        b"access-control-request-method",
        b"access-control-request-private-network",
        b"anthropic-beta",
        b"anthropic-version",
        b"api-key",
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"origin",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
        b"traceparent",
        b"tracestate",
        b"transfer-encoding",
        b"upgrade",
        b"x-api-key",
        b"x-priority",
        b"x-rackserve-dry-run",
        b"x-rackserve-explain",
        b"x-request-id",
        b"x-request-timeout-ms",
        b"x-session-id",
        b"x-slo-tpot-ms",
        b"x-slo-ttft-ms",
    }
)
"""Names of the headers that the gateway reads; all others are dropped as they come in."""

FORWARDED = (b"content-type", b"accept", b"traceparent", b"tracestate", b"anthropic-version", b"anthropic-beta")
"""Names of the headers that are passed on to the replica. The gateway makes the rest of its request head."""

CREDENTIALS = (b"authorization", b"x-api-key", b"api-key")
"""Names of the headers with a client's API key; passed on to servers that check the key themselves."""

_ONCE = frozenset({b"api-key", b"authorization", b"content-length", b"host", b"x-api-key"})
"""Headers that may stand once: two of them are how one request is made to mean two things (RFC 9112, section 11.2)."""
_FIRST = frozenset({b"x-rackserve-explain", b"x-request-id"})
"""Headers that proxies on the way add again; the first one is the client's."""
_SINGLE = frozenset(
    {
        b"access-control-request-method",
        b"anthropic-version",
        b"content-type",
        b"origin",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"x-priority",
        b"x-request-timeout-ms",
        b"x-session-id",
        b"x-slo-tpot-ms",
        b"x-slo-ttft-ms",
    }
)
"""Headers with one value, which may be repeated but not contradicted."""


class DoubledHeaderError(Exception):
    """Two lines of one name contradict each other; the message is for the client."""


def joined(name: bytes, first: bytes, second: bytes) -> bytes:
    """Return the value of a header that stands in several lines.

    Args:
        name: the header's name, in lower case.
        first: the value so far.
        second: the next line's value.

    Returns:
        The value; b"": the header is to be ignored.

    Raises:
        DoubledHeaderError: the lines have no one meaning.
    """
    if name in _ONCE:
        raise DoubledHeaderError(f"two {name.decode()} headers; there must be one")
    if name == b"traceparent":
        return first if first == second else b""  # W3C Trace Context, section 3.2: what cannot be parsed is ignored
    if name in _FIRST or (name in _SINGLE and first == second):
        return first
    if name in _SINGLE:
        raise DoubledHeaderError(f"two {name.decode()} headers that differ; there must be one")
    return b", ".join(filter(None, (first, second)))  # a list (RFC 9110, section 5.3)
