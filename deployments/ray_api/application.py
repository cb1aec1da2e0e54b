"""Deploys and deletes Serve applications, and reads their state."""

from collections.abc import Mapping
from dataclasses import dataclass

from ray import serve
from ray.serve.context import _get_global_client

from deployments.ray_api.deployment import Application
from deployments.ray_api.errors import ray_errors
from deployments.ray_api.serve_configs import SERVE_CONFIGS


@dataclass(frozen=True, slots=True)
class DeploymentState:
    """A deployment's state in Serve.

    Attributes:
        status: Serve's own: `HEALTHY`, `UPDATING`, `UNHEALTHY`, `DEPLOY_FAILED`, ...
        message: Serve's reason; "": none given.
        wanted: replicas that Serve has in any state.
        replicas: number of replicas in each state, such as `RUNNING` and `STARTING`.
    """

    status: str
    message: str
    wanted: int
    replicas: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ApplicationState:
    """An application's state in Serve.

    Attributes:
        status: Serve's own: `NOT_STARTED`, `DEPLOYING`, `RUNNING`, `DEPLOY_FAILED`, ...
        message: Serve's reason; "": none given.
        deployments: the state of each deployment, by name.
    """

    status: str
    message: str
    deployments: Mapping[str, DeploymentState]


def deploy(application: Application, name: str) -> None:
    """Ask Serve to run or update `application` as `name`; return at once (see `application_state`).

    On Serve's own HTTP port its path is `/NAME`.

    Raises:
        ClusterError: Serve refused it.
    """
    with ray_errors(f"deploying {name}"), SERVE_CONFIGS:
        serve.api._run(application, _blocking=False, name=name, route_prefix=f"/{name}")  # noqa: SLF001


def application_state(name: str) -> ApplicationState | None:
    """Return the state of the application `name`; None: it does not exist."""
    with ray_errors("asking Ray Serve for its status"), SERVE_CONFIGS:
        found = serve.status().applications.get(name)
    if found is None:
        return None
    return ApplicationState(
        status=str(found.status.value),
        message=found.message,
        deployments={
            key: DeploymentState(
                status=str(state.status.value),
                message=state.message,
                wanted=sum(state.replica_states.values()),
                replicas={str(getattr(kind, "value", kind)): count for kind, count in state.replica_states.items()},
            )
            for key, state in found.deployments.items()
        },
    )


def status_words(name: str) -> tuple[tuple[str, str], ...]:
    """Return Serve's words on the application `name` and on each of its deployments: a status and its reason.

    It costs a fraction of `application_state`, for which Serve gathers what it knows of every application. An
    application that does not exist is `NOT_STARTED`.
    """
    with ray_errors("asking Ray Serve for its status"):
        client = _get_global_client()
        if client is None:
            raise RuntimeError("Ray Serve does not run")
        overview = client.get_serve_status(name)  # internal
    deployments = sorted((each.name, each.status.value, each.message) for each in overview.deployment_statuses)
    application = overview.app_status
    return (
        (str(application.status.value), application.message),
        *((str(status), message) for _, status, message in deployments),
    )


def application_names() -> list[str]:
    """Return the names of the applications that Serve runs, sorted."""
    with ray_errors("asking Ray Serve for its applications"):
        return sorted(serve.status().applications)


def delete_application(name: str) -> None:
    """Stop the application `name` and wait until it is gone."""
    with ray_errors(f"stopping {name}"):
        serve.delete(name)
