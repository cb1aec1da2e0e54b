"""How urgent a request is, by the client's headers: its priority, how long it may wait, and its latencies."""

from math import inf
from typing import Final

from router.flow_control.priority import Priority, priority_named
from router.http.wire.request.incoming import IncomingRequest
from router.request import LatencyTargets

_MAX_DIGITS: Final = 12
_TTFT: Final = b"x-slo-ttft-ms"
_TPOT: Final = b"x-slo-tpot-ms"


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
    return _seconds(incoming, b"x-request-timeout-ms", inf)


def asked_targets(incoming: IncomingRequest, usual: LatencyTargets) -> LatencyTargets:
    """Return the latencies that the request is to have, by `x-slo-ttft-ms` and `x-slo-tpot-ms`; else the `usual` ones.

    Raises:
        ValueError: a header is no whole number of milliseconds above 0; the message is for the client.
    """
    headers = incoming.headers
    if _TTFT not in headers and _TPOT not in headers:
        return usual
    return LatencyTargets(_seconds(incoming, _TTFT, usual.ttft_s), _seconds(incoming, _TPOT, usual.tpot_s))


def _seconds(incoming: IncomingRequest, name: bytes, default: float) -> float:
    value = incoming.headers.get(name)
    if value is None:
        return default
    digits = value.strip()
    if not digits.isdigit() or len(digits) > _MAX_DIGITS or not int(digits):
        shown = value[:40].decode("latin-1")
        raise ValueError(f"{name.decode()}: {shown!r} is no whole number of milliseconds above 0")
    return int(digits) / 1000
