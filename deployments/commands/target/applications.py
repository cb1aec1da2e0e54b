"""Finds RackServe's applications on a connected Ray cluster, and those that have a model of a given name."""

import difflib

import deployments.ray_api as ray_api
from cluster.errors import ClusterError, ClusterUnreachableError, SpecError, SpecProblem
from deployments import app
from deployments.directory.client import actor_name


def our_applications() -> list[str]:
    """Return the names of RackServe's applications, sorted; those that are only starting, or fail to, included.

    Raises:
        ClusterUnreachableError: there is none on the cluster.
    """
    directories = set(ray_api.actor_names())
    ours = [
        name
        for name in ray_api.application_names()
        if actor_name(name) in directories or app.GATEWAY_DEPLOYMENT in _deployments_of(name)
    ]
    if not ours:
        raise ClusterUnreachableError(f"no RackServe on the Ray cluster at {ray_api.address()}")
    return ours


def applications_with(model: str) -> list[str]:
    """Return the names of the applications that have a model, sorted.

    Raises:
        ClusterUnreachableError: no application of RackServe is on the cluster.
        ClusterError: none has the model.
    """
    deployments = {name: _deployments_of(name) for name in our_applications()}
    found = [name for name, theirs in deployments.items() if app.pools_in(theirs, model)]
    if not found:
        there = sorted(set().union(*deployments.values()) - {app.GATEWAY_DEPLOYMENT})
        close = difflib.get_close_matches(model, sorted({name.split(":")[0] for name in there}), n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are the deployments {', '.join(there)}"
        raise ClusterError(f"no application on the cluster has a model {model!r}; {hint}")
    return found


def application_with(model: str, application: str) -> str:
    """Return the name of the application that has a model.

    Args:
        model: the model's name.
        application: the application that is meant; "": the only one that has the model.

    Raises:
        SpecError: that application does not have it, or several have and it is not said which.
        ClusterUnreachableError: no application of RackServe is on the cluster.
        ClusterError: none has the model.
    """
    found = applications_with(model)
    if application and application not in found:
        raise SpecError("options", [SpecProblem("--app", f"{application!r} has no {model}; {', '.join(found)} has")])
    if not application and len(found) > 1:
        message = f"{', '.join(found)} all have {model}; say which"
        raise SpecError("options", [SpecProblem("--app", message)])
    return application or found[0]


def pools_of(application: str, model: str) -> list[str]:
    """Return the pools of a model that an application has, sorted; "": the model's one pool without a name."""
    return app.pools_in(_deployments_of(application), model)


def _deployments_of(application: str) -> set[str]:
    state = ray_api.application_state(application)
    return set(state.deployments) if state is not None else set()
