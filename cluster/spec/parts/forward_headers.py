"""Which of a client's request headers may be passed on to replicas, beside those that always are."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator

_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,128}")
"""A header's name in lower case (RFC 9110, section 5.6.2)."""
_WHY_NOT: Final = {
    **dict.fromkeys(
        (
            "connection",
            "keep-alive",
            "proxy-authenticate",
            "proxy-authorization",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ),
        "it is about one connection and ends there (RFC 9110, section 7.6.1)",
    ),
    **dict.fromkeys(("content-encoding", "content-length", "expect", "host"), "the gateway makes it anew"),
    **dict.fromkeys(
        ("accept-encoding",), "a compressed answer's tokens cannot be counted, nor can its stream be continued"
    ),
    **dict.fromkeys(
        ("api-key", "authorization", "x-api-key"),
        "it holds a client's secret; `rackserve gateway --pass-authorization` passes API keys on",
    ),
    "x-request-id": "the gateway always sends it",
}


def forwardable(name: str) -> str:
    """Return a header's name in lower case.

    Raises:
        ValueError: it is no name of a header, or of one that must not be passed on; the message says why.
    """
    lower = name.lower()
    if not _NAME.fullmatch(lower):
        raise ValueError(f"{name[:80]!r} is no name of a header; right would be one such as baggage")
    why_not = _WHY_NOT.get(lower)
    if lower.startswith("x-rackserve-"):
        why_not = "headers of that name are between gateways and replicas"
    if why_not is not None:
        raise ValueError(f"{lower} cannot be passed on: {why_not}")
    return lower


HeaderName = Annotated[str, AfterValidator(forwardable)]
"""A header that may be passed on, in lower case."""
