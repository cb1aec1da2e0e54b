"""Says in one sentence who gets in at a gateway that asks nobody for a key."""

from ipaddress import ip_address

from cluster.spec.gateway_spec import GatewaySpec


def open_door(gateway: GatewaySpec) -> str:
    """Return who gets in without a key; "": nobody does, or only those on the gateway's own machine.

    Args:
        gateway: the gateway's spec.
    """
    if gateway.tenants or _is_loopback(gateway.host):
        return ""
    where = "every address" if gateway.host in {"0.0.0.0", "::", ""} else gateway.host  # noqa: S104 - compared
    port = gateway.port or "of its own"
    return f"open to everybody: port {port} on {where} asks for no key, as gateway.tenants is empty"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
