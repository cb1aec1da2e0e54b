"""Finds the tenant of a request by its API key."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from cluster.spec.gateway_spec import TenantSpec

KEY_DIGITS: Final = 8
"""Hex digits of an API key's SHA-256 that records of usage show: enough to tell keys apart, too few to guess one by."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """One customer of the cluster.

    Attributes:
        name: its name in metrics and logs.
        models: names of the models it may use; None: all.
        cache_salt: salt of its prompts' hashes: tenants with different salts share no cached prefix. "": no salt.
        beside_salts: other tenants have a salt, so one that its requests bring must not look like theirs.
        key: the first digits of its API key's SHA-256, by which usage is told apart while keys are rotated.
    """

    name: str
    models: frozenset[str] | None = None
    cache_salt: str = ""
    beside_salts: bool = False
    key: str = ""

    def may_use(self, model: str) -> bool:
        """Tell whether this tenant may use `model`."""
        return self.models is None or model in self.models


ANONYMOUS: Final = Tenant("anonymous")
"""The tenant of all requests if the cluster file names no tenants."""


class Authenticator(Protocol):
    """Maps a request's credentials to a tenant."""

    def tenant(self, authorization: bytes, api_key: bytes) -> Tenant | None:
        """Return the tenant that a request belongs to; None: refuse the request.

        Args:
            authorization: the `authorization` header, or b"".
            api_key: the `x-api-key` header (Anthropic-style clients), or b"".
        """
        ...


class OpenAccess:
    """Accepts all requests as one anonymous tenant's, for clusters whose file names no tenants."""

    def tenant(self, authorization: bytes, api_key: bytes) -> Tenant | None:
        """Return the anonymous tenant."""
        del authorization, api_key
        return ANONYMOUS


class ApiKeys:
    """Finds tenants by the SHA-256 of their API key, so no key is kept in memory or in the cluster file.

    The time that a lookup takes could at most tell something about a key's digest, and no key can be found from its
    digest.

    Args:
        tenants_by_key_sha256: the tenants, by the hexadecimal SHA-256 of their key.
    """

    def __init__(self, tenants_by_key_sha256: Mapping[str, Tenant]) -> None:
        self._tenants = {bytes.fromhex(digest): tenant for digest, tenant in tenants_by_key_sha256.items()}

    def tenant(self, authorization: bytes, api_key: bytes) -> Tenant | None:
        """Return the tenant of a `Bearer` key or an `x-api-key`; None: the key is missing or unknown."""
        if authorization[:7].lower() == b"bearer ":
            api_key = authorization[7:].strip() or api_key  # some clients send `Bearer` beside their key, with nothing
        return self._tenants.get(sha256(api_key).digest()) if api_key else None


def keys_of(tenants: Iterable[TenantSpec]) -> ApiKeys:
    """Return the keys of these tenants; each may have several."""
    by_key = {}
    tenants = list(tenants)
    salts = {tenant.cache_salt for tenant in tenants if tenant.cache_salt}
    for tenant in tenants:
        models = frozenset(tenant.models) if tenant.models is not None else None
        for digest in tenant.key_digests:
            beside_salts = bool(salts - {tenant.cache_salt})
            key = digest[:KEY_DIGITS]
            by_key[digest] = Tenant(tenant.name, models, tenant.cache_salt, beside_salts=beside_salts, key=key)
    return ApiKeys(by_key)
