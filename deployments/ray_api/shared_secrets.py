"""Secrets shared by all processes of the cluster, in Ray's own key-value store."""

import secrets
from typing import Final

from ray.experimental import internal_kv

from deployments.ray_api.errors import ray_errors

KV_NAMESPACE: Final = b"rackserve"


def shared_secret(name: str) -> str:
    """Return the cluster's secret `name`, the same in every process; the first call makes it.

    It lives in Ray's own key-value store (internal API), as Serve's state does, so it outlives every actor. Anyone who
    can read it there can run code on the cluster anyway.
    """
    key = f"secret/{name}".encode()
    with ray_errors("reading the cluster's secret"):
        internal_kv._internal_kv_put(key, secrets.token_urlsafe(32).encode(), False, namespace=KV_NAMESPACE)  # noqa: FBT003, SLF001
        return bytes(internal_kv._internal_kv_get(key, namespace=KV_NAMESPACE)).decode()  # noqa: SLF001


def forget_secret(name: str) -> None:
    """Delete the secret `name`; running processes keep using it."""
    with ray_errors("deleting the cluster's secret"):
        internal_kv._internal_kv_del(f"secret/{name}".encode(), namespace=KV_NAMESPACE)  # noqa: SLF001
