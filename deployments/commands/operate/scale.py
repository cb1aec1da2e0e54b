"""`rackserve scale`: changes the number of a running model's replicas, by deploying its application again, in place."""

import re
from typing import Final

from pydantic import ValidationError
from rich.console import Console

import deployments.ray_api as ray_api
from cluster.errors import ClusterError, SpecError, SpecProblem
from cluster.spec.cluster_spec import ClusterSpec
from cluster.spec.model_parts.scaling_spec import ReplicaCount
from cluster.spec.model_spec import ModelSpec
from deployments.commands.operate.serve import progress_lines, stop_signals
from deployments.commands.target.applications import application_with
from deployments.launch.application import Launch
from deployments.launch.missing_machines import missing_machines
from deployments.launch.running_spec import running_spec

_RANGE: Final = re.compile(r"(\d{1,4})(?::(\d{1,4}))?")


def scale(  # noqa: PLR0913 - the command's options
    model: str, replicas: str, address: str, *, application: str, pool: str, wait: bool, console: Console
) -> None:
    """Change the `replicas` of a model or of one of its pools; replicas that stay are not restarted.

    Args:
        model: the model's name.
        replicas: `N` or `MIN:MAX`.
        address: the Ray cluster's address.
        application: the application's name; "": the only one that has the model.
        pool: the pool's name; "": the model's only one.
        wait: return once all replicas of the new number serve.
        console: where progress goes.

    Raises:
        SpecError: `replicas` is wrong, or several applications have the model or it has several pools and it is not
            said which; nothing was changed.
        ClusterError: there is no such model, it is scaled elsewhere, or Ray refused.
    """
    count = count_of(replicas)
    ray_api.connect(address)
    try:
        name = application_with(model, application)
        spec = running_spec(name)
        if spec is None:
            raise ClusterError(scaled_elsewhere(name, model, pool, count))
        chosen = pool_of(spec.model(model), pool)
        spec = with_replicas(spec, model, chosen.pool, count)
        console.print(
            f"{chosen.label}: {shown(chosen.replicas)} → {shown(count)} replicas", markup=False, highlight=False
        )
        for key, reason in missing_machines(spec, ray_api.machines()).items():
            console.print(f"{key} waits for machines that are not there: {reason}", markup=False, soft_wrap=True)
        launch = Launch(spec, address, is_url_for_others=True)
        with stop_signals() as is_stopping:
            launch.start(is_stopping)
            if wait:
                with progress_lines(console) as report:
                    launch.wait_until_ready(report, is_stopping)
    finally:
        ray_api.disconnect()


def count_of(text: str) -> ReplicaCount:
    """Return the replicas that `N` or `MIN:MAX` means.

    Raises:
        SpecError: it means none.
    """
    match = _RANGE.fullmatch(text)
    wrong = ""
    if match is None:
        wrong = "write a number such as 3, or a range such as 1:4"
    elif text == "0":
        wrong = "a model keeps at least one replica; 0:1 lets it go to none while nobody asks"
    else:
        try:
            return ReplicaCount(min=int(match[1]), max=int(match[2] or match[1]))
        except ValidationError as error:
            wrong = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
    raise SpecError("options", [SpecProblem("replicas", f"{text!r}: {wrong}")])


def scaled_elsewhere(application: str, model: str, pool: str, count: ReplicaCount) -> str:
    """Return what to tell of an application that another program deploys: it would undo what is changed here.

    Args:
        application: its name.
        model: the model to scale.
        pool: its pool; "": it has none.
        count: the replicas it is to have.
    """
    key = "models." + model.replace(".", "\\.") + (f".pools.{pool}" if pool else "")
    values = f"--set '{key}.min={count.min},{key}.max={count.max}'"
    return (
        f"{application} was not deployed by `rackserve serve` or `up`: scale it where it comes from. "
        f"By Helm: `helm upgrade RELEASE CHART --reuse-values {values}`, "
        "with `scale.GROUP.replicas` where that takes more machines. "
        f"By a RayService or Serve config file of your own: `replicas` of {model} in the application's `args`"
    )


def pool_of(model: ModelSpec, pool: str) -> ModelSpec:
    """Return what a pool of `model` runs.

    Args:
        model: the model.
        pool: the pool's name; "": the model's only one.

    Raises:
        SpecError: there is no such pool, or there are several.
    """
    pools = model.in_pools()
    named = [each for each in pools if each.pool == pool]
    if named:
        return named[0]
    there = ", ".join(each.pool for each in pools if each.pool)
    if not there:
        raise SpecError("options", [SpecProblem("--pool", f"{pool!r}: {model.name} has no pools; leave it out")])
    if pool:
        raise SpecError("options", [SpecProblem("--pool", f"{model.name} has no pool {pool!r}; there is {there}")])
    if len(pools) > 1:
        raise SpecError("options", [SpecProblem("--pool", f"{model.name} has the pools {there}; say which")])
    return pools[0]


def with_replicas(spec: ClusterSpec, model: str, pool: str, count: ReplicaCount) -> ClusterSpec:
    """Return `spec` with another number of replicas of a pool of `model`; "": of the model, which has no pools."""

    def scaled(each: ModelSpec) -> ModelSpec:
        if not each.pools:
            return each.model_copy(update={"replicas": count})
        pools = [one.model_copy(update={"replicas": count}) if one.name == pool else one for one in each.pools]
        return each.model_copy(update={"pools": tuple(pools)})

    models = tuple(scaled(each) if each.name == model else each for each in spec.models)
    return spec.model_copy(update={"models": models})


def shown(count: ReplicaCount) -> str:
    """Return a number of replicas for people: `3`, or `1 to 4`."""
    return f"{count.min} to {count.max}" if count.is_autoscaled else str(count.min)
