"""Tells public addresses from those of private networks, of this machine and of clouds' metadata services. Pure."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""IPv6 that a translator turns into the IPv4 address in the last 32 bits (RFC 6052)."""
_SIX_TO_FOUR: Final = IPv6Network("2002::/16")
"""IPv6 with an IPv4 address in bits 16 to 48 (RFC 3056)."""
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
"""All that is assigned to hosts; ::/96 (IPv4-compatible), 64:ff9b:1::/48, fc00::/7, fe80::/10 and more lie outside."""
_NOT_PUBLIC: Final = (
    IPv6Network("2001::/23"),  # protocol assignments (RFC 2928): Teredo, benchmarking, ORCHID
    IPv6Network("2001:db8::/32"),  # documentation (RFC 3849)
    IPv6Network("3fff::/20"),  # documentation (RFC 9637)
)
_NOT_PUBLIC_4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network: Linux takes it for loopback
            "10.0.0.0/8",
            "100.64.0.0/10",  # shared by a provider's customers (RFC 6598); some clouds' metadata
            "127.0.0.0/8",
            "169.254.0.0/16",  # link-local; most clouds' metadata
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments (RFC 6890); Oracle's metadata
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays to 6to4, given up (RFC 7526)
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarking (RFC 2544)
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/3",  # multicast, reserved, broadcast
            "168.63.129.16/32",  # Azure's services for its own machines, at a public address
        ),
    )
)
"""IANA's registry of special addresses, written down: the one in `ipaddress` differs between releases of Python."""


def is_public(address: str) -> bool:
    """Tell whether an address, as `getaddrinfo` gives it, is one of the public internet.

    IPv6 that stands for IPv4 (mapped, NAT64, 6to4) is what that IPv4 is. An address that cannot be read is not public.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return _is_public_4(found) if isinstance(found, IPv4Address) else _is_public_6(found)


def _is_public_4(address: IPv4Address) -> bool:
    return not any(address in net for net in _NOT_PUBLIC_4)


def _is_public_6(address: IPv6Address) -> bool:
    if address.scope_id:  # the name of this machine's interface: link-local
        return False
    within = address.ipv4_mapped
    if address in _NAT64:
        within = IPv4Address(int(address) & 0xFFFF_FFFF)
    elif address in _SIX_TO_FOUR:
        within = address.sixtofour
    if within is not None:
        return _is_public_4(within)
    return address in _GLOBAL_UNICAST and not any(address in net for net in _NOT_PUBLIC)
