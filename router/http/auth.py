"""Who is calling: API key → tenant."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Tenant:
    """One customer of the cluster.

    Attributes:
        name: shows in metrics and logs.
        models: the models it may use; None: all.
        cache_salt: keeps its cached prefixes apart from tenants' with another; "": shared.
    """

    name: str
    models: frozenset[str] | None = None
    cache_salt: str = ""

    def may_use(self, model: str) -> bool:
        """Tell whether this tenant may use `model`."""
        return self.models is None or model in self.models


ANONYMOUS = Tenant("anonymous")


class Authenticator(Protocol):
    """Maps a request's credentials to a tenant."""

    def tenant(self, authorization: bytes, api_key: bytes) -> Tenant | None:
        """Return whose request it is, or None: refuse it.

        Args:
            authorization: the `authorization` header, or b"".
            api_key: the `x-api-key` header (Anthropic-style clients), or b"".
        """
        ...


class OpenAccess:
    """Lets everybody in as one anonymous tenant: for clusters whose file names no tenants."""

    def tenant(self, authorization: bytes, api_key: bytes) -> Tenant | None:
        """Return the anonymous tenant."""
        del authorization, api_key
        return ANONYMOUS


class ApiKeys:
    """Tenants by the SHA-256 of their API key, so that no key is kept in memory or in the cluster file.

    Looking a digest up in a dict takes the same time for a wrong key as for a right one as far as it tells anything of
    the key itself.
    """

    def __init__(self, tenants_by_key_sha256: Mapping[str, Tenant]) -> None:
        self._tenants = {bytes.fromhex(digest): tenant for digest, tenant in tenants_by_key_sha256.items()}

    def tenant(self, authorization: bytes, api_key: bytes) -> Tenant | None:
        """Return the tenant of a `Bearer` key or an `x-api-key`, or None."""
        if authorization[:7].lower() == b"bearer ":
            api_key = authorization[7:].strip()
        return self._tenants.get(sha256(api_key).digest()) if api_key else None
