"""The cluster file of an application that runs, kept on the cluster for the commands that look at it or change it.

It holds what the cluster file held: of API keys their digests or the files' names, never the keys.
"""

import deployments.ray_api as ray_api
from cluster.errors import SpecError
from cluster.spec import cluster_file
from cluster.spec.cluster_spec import ClusterSpec


def keep_spec(spec: ClusterSpec) -> None:
    """Keep the spec that is deployed under its cluster's name.

    Raises:
        ClusterError: Ray does not answer.
    """
    ray_api.keep_text(_name(spec.cluster.name), spec.model_dump_json(exclude_defaults=True))


def running_spec(application: str) -> ClusterSpec | None:
    """Return the spec of a running application; None: it was not deployed by `serve` or `up`, or by another version.

    Raises:
        ClusterError: Ray does not answer.
    """
    text = ray_api.kept_text(_name(application))
    try:
        return cluster_file.load(text, application) if text else None
    except SpecError:
        return None


def forget_spec(application: str) -> None:
    """Delete the spec of an application that was removed."""
    ray_api.forget_text(_name(application))


def _name(application: str) -> str:
    return f"spec/{application}"
