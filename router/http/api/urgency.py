"""How urgent a request is, by the client's headers `x-priority` and `x-request-timeout-ms`."""

from math import inf
from typing import Final

from router.flow_control.priority import Priority, priority_named
from router.http.wire.request.incoming import IncomingRequest

_MAX_DIGITS: Final = 12


def asked_priority(incoming: IncomingRequest) -> Priority | None:
    """Return the priority class that `x-priority` asks for; None where the header is missing.

    Raises:
        ValueError: there is no such class; the message is for the client.
    """
    name = incoming.headers.get(b"x-priority")
    if name is None:
        return None
    try:
        return priority_named(name.decode("latin-1"))
    except ValueError as error:
        raise ValueError(f"x-priority: {error}") from error


def asked_wait_s(incoming: IncomingRequest) -> float:
    """Return how many seconds the request may wait in the gateway, by `x-request-timeout-ms`; `inf` without it.

    Raises:
        ValueError: the header is no whole number of milliseconds above 0; the message is for the client.
    """
    value = incoming.headers.get(b"x-request-timeout-ms")
    if value is None:
        return inf
    digits = value.strip()
    if not digits.isdigit() or len(digits) > _MAX_DIGITS or not int(digits):
        shown = value[:40].decode("latin-1")
        raise ValueError(f"x-request-timeout-ms: {shown!r} is no whole number of milliseconds above 0")
    return int(digits) / 1000
