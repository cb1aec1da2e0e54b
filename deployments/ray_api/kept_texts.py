"""Texts kept on the cluster's head, in Ray's own key-value store (internal API), as Serve keeps its state there."""

from ray.experimental import internal_kv

from deployments.ray_api.errors import ray_errors
from deployments.ray_api.shared_secrets import KV_NAMESPACE


def keep_text(name: str, text: str) -> None:
    """Keep `text` as `name`, in place of what was kept under that name."""
    with ray_errors(f"keeping {name} on the cluster"):
        internal_kv._internal_kv_put(_key(name), text.encode(), True, namespace=KV_NAMESPACE)  # noqa: FBT003, SLF001


def kept_text(name: str) -> str:
    """Return the text kept as `name`; "": there is none."""
    with ray_errors(f"reading {name} from the cluster"):
        found = internal_kv._internal_kv_get(_key(name), namespace=KV_NAMESPACE)  # noqa: SLF001
    return bytes(found).decode() if found else ""


def forget_text(name: str) -> None:
    """Delete the text kept as `name`, if there is one."""
    with ray_errors(f"deleting {name} from the cluster"):
        internal_kv._internal_kv_del(_key(name), namespace=KV_NAMESPACE)  # noqa: SLF001


def _key(name: str) -> bytes:
    return f"text/{name}".encode()
