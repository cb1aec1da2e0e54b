"""Reads the operators' key from its file, such as one of a mounted Kubernetes Secret."""

from hashlib import sha256
from pathlib import Path

from cluster.errors import SpecError, SpecProblem
from cluster.spec.gateway_spec import GatewaySpec


def with_admin_key_read(gateway: GatewaySpec, source: str = "gateway") -> GatewaySpec:
    """Return `gateway` with the SHA-256 digest of the key in its `admin_key_file`; the key itself is not kept.

    Args:
        gateway: the gateway's spec.
        source: the name, in errors, of what the spec is from.

    Raises:
        SpecError: the file cannot be read, or is empty.
    """
    if not gateway.admin_key_file:
        return gateway
    try:
        key = Path(gateway.admin_key_file).read_bytes().strip()
    except OSError as error:
        message = f"{gateway.admin_key_file} cannot be read: {error.strerror or error}"
        raise SpecError(source, [SpecProblem("admin_key_file", message)]) from error
    if not key:
        message = f"{gateway.admin_key_file} is empty; it must hold the operators' key"
        raise SpecError(source, [SpecProblem("admin_key_file", message)])
    return gateway.model_copy(update={"admin_key_sha256": sha256(key).hexdigest(), "admin_key_file": ""})
