"""Who may see the pages of the admin port."""

import hmac
from asyncio import BaseTransport
from collections.abc import Iterable
from hashlib import sha256
from ipaddress import ip_address

FOR_ALL = frozenset({b"/health"})
"""Pages that tell nothing, so that anything may check that the process runs."""
FOR_SCRAPERS = frozenset({b"/health", b"/metrics", b"/ready"})
"""Pages that machines elsewhere may see where the operator has opened the admin port and set no key."""


class AdminAccess:
    """Decides who may see a page of the admin port.

    Holders of an operator's key see all of it. Where no key is set, the gateway's own machine sees all of it too, and
    other machines see `FOR_SCRAPERS` if the operator has opened the port to them, else `FOR_ALL`.

    Args:
        key_sha256: hexadecimal SHA-256 of the operators' key; "": none is set.
        credentials: other bearer tokens of operators: the cluster's internal credential. Empty ones count as none.
        is_opened: the operator chose the address that the port listens on.
    """

    def __init__(self, key_sha256: str, credentials: Iterable[str], *, is_opened: bool) -> None:
        self._credentials = [sha256(token.encode()).digest() for token in credentials if token]
        self._is_opened = is_opened
        self.set_key(key_sha256)

    def set_key(self, key_sha256: str) -> None:
        """Ask for exactly this operators' key from now on; "": none is set."""
        self._has_key = bool(key_sha256)
        self._digests = [*self._credentials, *([bytes.fromhex(key_sha256)] if key_sha256 else [])]
        self._for_strangers = FOR_SCRAPERS if self._is_opened and not key_sha256 else FOR_ALL

    def may_see(self, path: bytes, authorization: bytes, *, is_local: bool) -> bool:
        """Tell whether a page may be shown.

        Args:
            path: the page's path.
            authorization: the `authorization` header, or b"".
            is_local: the client runs on the gateway's machine, see `is_local`.
        """
        if path in self._for_strangers:
            return True
        if authorization[:7].lower() == b"bearer ":
            digest = sha256(authorization[7:].strip()).digest()
            if any(hmac.compare_digest(digest, known) for known in self._digests):
                return True
        return is_local and not self._has_key


def is_local(transport: BaseTransport) -> bool:
    """Tell whether a connection comes from this machine: from loopback, or from the address that it came to."""
    peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    try:
        address = ip_address(peer[0])
        return peer[0] == own[0] or bool((getattr(address, "ipv4_mapped", None) or address).is_loopback)
    except (TypeError, IndexError, ValueError):
        return False
