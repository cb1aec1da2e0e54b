"""Reads the API keys that tenants keep in files, such as those of a mounted Kubernetes Secret."""

from hashlib import sha256
from pathlib import Path

from cluster.errors import SpecError, SpecProblem
from cluster.spec.gateway_spec import GatewaySpec, TenantSpec


def with_keys_read(gateway: GatewaySpec, source: str = "gateway", section: str = "gateway.tenants") -> GatewaySpec:
    """Return `gateway` with the SHA-256 digest of every tenant's key; the keys themselves are not kept.

    Args:
        gateway: the gateway's spec, with its tenants.
        source: the name, in errors, of the file that lists the tenants.
        section: the path of the tenants in that file, for errors.

    Raises:
        SpecError: a `key_file` cannot be read or is empty, or two tenants have the same key; lists all of them.
    """
    tenants: list[TenantSpec] = []
    problems: list[SpecProblem] = []
    owners: dict[str, str] = {}
    for position, tenant in enumerate(gateway.tenants):
        digest = tenant.key_sha256
        if digest is None:
            try:
                key = Path(tenant.key_file).read_bytes().strip()
            except OSError as error:
                message = f"{tenant.key_file} cannot be read: {error.strerror or error}"
                problems.append(SpecProblem(f"{section}[{position}].key_file", message))
                continue
            if not key:
                message = f"{tenant.key_file} is empty; it must hold the API key"
                problems.append(SpecProblem(f"{section}[{position}].key_file", message))
                continue
            digest = sha256(key).hexdigest()
        owner = owners.setdefault(digest, tenant.name)
        if owner != tenant.name:
            message = f"{tenant.name!r} has the same key as {owner!r}; each must have its own"
            problems.append(SpecProblem(f"{section}[{position}].key_file", message))
        tenants.append(tenant.model_copy(update={"key_sha256": digest, "key_file": ""}))
    if problems:
        raise SpecError(source, problems)
    return gateway.model_copy(update={"tenants": tuple(tenants)})
