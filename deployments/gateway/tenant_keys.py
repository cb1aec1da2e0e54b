"""Reads the API keys that tenants keep in files, such as those of a mounted Kubernetes Secret."""

from hashlib import sha256
from pathlib import Path

from cluster.errors import SpecError, SpecProblem
from cluster.spec.gateway_spec import MAX_KEYS, GatewaySpec, TenantSpec


def with_keys_read(gateway: GatewaySpec, source: str = "gateway", section: str = "gateway.tenants") -> GatewaySpec:
    """Return `gateway` with the SHA-256 digests of every tenant's keys; the keys themselves are not kept.

    Args:
        gateway: the gateway's spec, with its tenants.
        source: the name, in errors, of the file that lists the tenants.
        section: the path of the tenants in that file, for errors.

    Raises:
        SpecError: a `key_file` cannot be read, is empty or holds too many keys, or two tenants have the same key; lists
            all of them.
    """
    tenants: list[TenantSpec] = []
    problems: list[SpecProblem] = []
    owners: dict[str, str] = {}
    for position, tenant in enumerate(gateway.tenants):
        where = f"{section}[{position}].key_file"
        digests = tenant.key_digests
        if not digests:
            try:
                digests = _digests_in(tenant.key_file)
            except OSError as error:
                message = f"{tenant.key_file} cannot be read: {error.strerror or error}"
                problems.append(SpecProblem(where, message))
                continue
            except ValueError as error:
                problems.append(SpecProblem(where, f"{tenant.key_file} {error}"))
                continue
        for digest in digests:
            owner = owners.setdefault(digest, tenant.name)
            if owner != tenant.name:
                message = f"{tenant.name!r} has the same key as {owner!r}; each must have its own"
                problems.append(SpecProblem(where, message))
        tenants.append(tenant.model_copy(update={"key_sha256": digests, "key_file": ""}))
    if problems:
        raise SpecError(source, problems)
    return gateway.model_copy(update={"tenants": tuple(tenants)})


def _digests_in(file: str) -> tuple[str, ...]:
    keys = [line.strip() for line in Path(file).read_bytes().splitlines() if line.strip()]
    if not keys:
        raise ValueError("is empty; it must hold the API key")
    if len(keys) > MAX_KEYS:
        raise ValueError(f"holds {len(keys)} keys; {MAX_KEYS} may be valid at a time, each on its line")
    return tuple(sha256(key).hexdigest() for key in keys)
