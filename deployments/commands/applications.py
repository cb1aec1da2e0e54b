"""Finds the applications on a connected Ray cluster that have a model, for the commands that are given its name."""

import difflib

import deployments.ray_api as ray_api
from cluster.errors import ClusterError, ClusterUnreachableError
from deployments import app
from deployments.directory.client import actor_name


def applications_with(model: str) -> list[str]:
    """Return the names of the applications that have a model, sorted.

    Raises:
        ClusterUnreachableError: no application of RackServe is on the cluster.
        ClusterError: none has the model.
    """
    directories = set(ray_api.actor_names())
    ours = [name for name in ray_api.application_names() if actor_name(name) in directories]
    if not ours:
        raise ClusterUnreachableError(f"no RackServe on the Ray cluster at {ray_api.address()}")
    deployments: set[str] = set()
    found = []
    for name in ours:
        state = ray_api.application_state(name)
        theirs = set(state.deployments) if state is not None else set()
        deployments |= theirs - {app.GATEWAY_DEPLOYMENT}
        if app.deployment_name(model) in theirs:
            found.append(name)
    if not found:
        close = difflib.get_close_matches(model, deployments, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are the deployments {', '.join(sorted(deployments))}"
        raise ClusterError(f"no application on the cluster has a model {model!r}; {hint}")
    return found
