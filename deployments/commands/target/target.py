"""What a command asks: gateways by their URLs, or a Ray cluster by its address. The same two options everywhere."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cluster.errors import ClusterUnreachableError, SpecError, SpecProblem

RAY_ADDRESS: Final = "RAY_ADDRESS"
"""Environment variable with the address of a Ray cluster."""
ADMIN_URL: Final = "RACKSERVE_ADMIN_URL"
"""Environment variable with a gateway's admin URL."""
APPS_URL: Final = "RACKSERVE_URL"
"""Environment variable with the URL where apps connect."""
CONNECT_S: Final = 2.0
"""Seconds within which the head's port takes a connection."""


@dataclass(frozen=True, slots=True)
class CommandTarget:
    """What a command asks; one of the two is given.

    Attributes:
        urls: gateways' URLs, with a scheme and without a path.
        address: the Ray cluster's address, `HOST:PORT` or `auto`.
    """

    urls: tuple[str, ...] = ()
    address: str = ""


def target_of(urls: Sequence[str], address: str, variable: str = ADMIN_URL, default: str = "auto") -> CommandTarget:
    """Return what the options name; what is given on the command line comes before the environment.

    Args:
        urls: the values of `--url`.
        address: the value of `--address`; "": none.
        variable: the environment variable that stands for `--url`.
        default: what is asked if nothing is given: `auto`, the Ray cluster on this machine, or a URL.

    Raises:
        SpecError: both options are given, or a URL is not one.
        ClusterUnreachableError: nothing listens at the Ray cluster's address.
    """
    if urls and address:
        raise SpecError("options", [SpecProblem("--url", "give either --url or --address, not both")])
    if not urls and not address:
        urls = os.environ.get(variable, "").replace(",", " ").split()
        address = "" if urls else os.environ.get(RAY_ADDRESS, "")
    if not urls and not address:
        urls, address = ((), default) if default == "auto" else ((default,), "")
    if address:
        check_listening(address)
    return CommandTarget(tuple(_plain(url) for url in urls), address)


def check_listening(address: str) -> None:
    """Check that something listens at a Ray cluster's address, before Ray is imported, which takes seconds.

    Args:
        address: `HOST:PORT`; in any other form, such as `auto`, it is Ray's to say what is wrong.

    Raises:
        ClusterUnreachableError: nothing takes a connection there within `CONNECT_S`.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        reason = f"no answer within {CONNECT_S:g} s" if isinstance(error, TimeoutError) else _reason(error)
        raise ClusterUnreachableError(f"no Ray cluster at {address}: {reason}") from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _plain(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "http", url
    authority = rest.partition("/")[0]
    if scheme not in {"http", "https"} or not authority:
        raise SpecError("options", [SpecProblem("--url", f"{url!r} is not a URL such as http://HOST:8002")])
    path = rest[len(authority) :].rstrip("/").removesuffix("/v1")
    return f"{scheme}://{authority}{path}"
