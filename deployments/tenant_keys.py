"""API keys that tenants of a cluster file have in files, such as those of a mounted Kubernetes Secret."""

from hashlib import sha256
from pathlib import Path

from cluster.errors import SpecError, SpecProblem
from cluster.spec import GatewaySpec, TenantSpec


def with_keys_read(gateway: GatewaySpec) -> GatewaySpec:
    """Return `gateway` with every tenant known by its key's digest; the keys themselves are not kept.

    Raises:
        SpecError: a `key_file` cannot be read or is empty, or two tenants have the same key; with every problem.
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
                problems.append(_problem(position, f"{tenant.key_file} cannot be read: {error.strerror or error}"))
                continue
            if not key:
                problems.append(_problem(position, f"{tenant.key_file} is empty; it must hold the API key"))
                continue
            digest = sha256(key).hexdigest()
        owner = owners.setdefault(digest, tenant.name)
        if owner != tenant.name:
            problems.append(
                _problem(position, f"{tenant.name!r} has the same key as {owner!r}; each must have its own")
            )
        tenants.append(tenant.model_copy(update={"key_sha256": digest, "key_file": ""}))
    if problems:
        raise SpecError("gateway", problems)
    return gateway.model_copy(update={"tenants": tuple(tenants)})


def _problem(position: int, message: str) -> SpecProblem:
    return SpecProblem(f"gateway.tenants[{position}].key_file", message)
