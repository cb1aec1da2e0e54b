"""How RackServe's own commands show a gateway's admin port that they are an operator's."""

import os
from typing import Final

ADMIN_KEY: Final = "RACKSERVE_ADMIN_KEY"
"""Environment variable with the operators' key, for gateways that are named by their address."""


def headers_by_key() -> dict[str, str]:
    """Return the headers with the operators' key from the environment; empty where it has none."""
    key = os.environ.get(ADMIN_KEY, "")
    return {"authorization": f"Bearer {key}"} if key else {}


def headers_by_ray(application: str) -> dict[str, str]:
    """Return the headers that open the admin ports of an application's gateways.

    Those who can connect to its Ray cluster can read the cluster's internal credential, and run code there anyway.
    """
    import deployments.ray_api as ray_api  # noqa: PLC0415 - seconds, and not needed where a key is given

    return {"authorization": f"Bearer {ray_api.shared_secret(application)}"}
