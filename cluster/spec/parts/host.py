"""What names a machine in a cluster file: an address of either kind, or a name."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, Final

from pydantic import AfterValidator

_LABEL: Final = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME: Final = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
"""A host name (RFC 1123), which has no meaning to a shell."""


def plain_host(value: str) -> str:
    """Return a host as it is compared: addresses in their shortest form without brackets, names in lower case.

    Raises:
        ValueError: it is neither an address nor a name, or an address of one network card alone.
    """
    text = value.strip().removesuffix(".")
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    try:
        found = ip_address(text)
    except ValueError:
        # A name whose last part is a number is a mistyped address; resolvers read it as one (RFC 1123, 2.1).
        if not _NAME.fullmatch(text) or text.rpartition(".")[2].isdigit():
            raise ValueError(
                f"must be an address such as 10.0.0.11 or fd00::11, or a host name; got {value!r}"
            ) from None
        return text.lower()
    if isinstance(found, IPv6Address):
        if found.is_link_local or found.scope_id:
            raise ValueError(f"must be an address that all machines can reach, not a link-local one; got {value!r}")
        return str(found.ipv4_mapped or found)
    return str(found)


def is_name(host: str) -> bool:
    """Return whether a host that `plain_host` returned is a name, not an address."""
    try:
        ip_address(host)
    except ValueError:
        return True
    return False


def as_label(address: str) -> str:
    """Return an address as a value of a Ray label, which may hold no colon: IPv6 in full, with dashes."""
    found = ip_address(address)
    return address if isinstance(found, IPv4Address) else found.exploded.replace(":", "-")


Host = Annotated[str, AfterValidator(plain_host)]
