"""`rackserve adapters add` and `remove`: change the LoRA adapters of a running model, without a restart."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

import deployments.ray_api as ray_api
from cluster.errors import ClusterError
from cluster.spec import cluster_file
from cluster.spec.cluster_spec import ClusterSpec
from cluster.spec.model_parts.adapter_spec import AdapterSpec
from cluster.spec.model_spec import ModelSpec
from deployments.commands.operate.serve import stop_signals
from deployments.commands.status.adapters import adapters_in, gateway_states
from deployments.commands.target.applications import application_with
from deployments.commands.target.target import CommandTarget
from deployments.launch.application import Launch
from deployments.launch.running_spec import running_spec
from deployments.replica.read_spec import absolute_source

TAKEN_OVER_S: Final = 600.0
"""Seconds that replicas have to fetch a new adapter's files and load them once."""
LOOK_EVERY_S: Final = 0.25
"""Seconds between two looks whether they have."""

Change = Callable[[ModelSpec], Sequence[AdapterSpec]]
"""Returns the adapters that a model is to have."""


def add(  # noqa: PLR0913 - the command's options
    name: str, source: str, model: str, address: str, *, application: str, console: Console
) -> None:
    """Add an adapter to a running model, or give one other weights; return once all replicas can serve it.

    Args:
        name: the adapter's name.
        source: a Hugging Face id or a folder that every replica's machine has.
        model: the base model's name.
        address: the Ray cluster's address.
        application: the application's name; "": the only one that has the model.
        console: where progress goes.

    Raises:
        SpecError: the name or the source is wrong, or taken; nothing was changed.
        ClusterError: there is no such model, it has no room for adapters, or its replicas cannot load this one.
    """

    def added(spec: ModelSpec) -> Sequence[AdapterSpec]:
        others = [adapter for adapter in spec.adapters if adapter.name != name]
        return [*others, AdapterSpec.model_construct(name=name, source=absolute_source(source, Path.cwd()))]

    _deploy(model, added, address, application)
    _wait_until_served(name, model, address)
    console.print(f"{name}: served by all replicas of {model}", markup=False, highlight=False)


def remove(name: str, model: str, address: str, *, application: str, console: Console) -> None:
    """Remove an adapter from a running model; requests that use it go on.

    Args:
        name: the adapter's name.
        model: the base model's name.
        address: the Ray cluster's address.
        application: the application's name; "": the only one that has the model.
        console: where progress goes.

    Raises:
        ClusterError: there is no such model, or it has no such adapter.
    """

    def rest(spec: ModelSpec) -> Sequence[AdapterSpec]:
        others = [adapter for adapter in spec.adapters if adapter.name != name]
        if len(others) == len(spec.adapters):
            there = ", ".join(adapter.name for adapter in others) or "none"
            raise ClusterError(f"{model} has no adapter {name!r}; there are: {there}")
        return others

    _deploy(model, rest, address, application)
    console.print(f"{name}: removed from {model}", markup=False, highlight=False)


def _deploy(model: str, change: Change, address: str, application: str) -> None:
    """Deploy the application of a model again, in place, with other adapters of the model.

    Raises:
        SpecError: the adapters are wrong; nothing was changed.
        ClusterError: there is no such model, or it cannot have adapters.
    """
    ray_api.connect(address)
    try:
        name = application_with(model, application)
        spec = running_spec(name)
        if spec is None:
            raise ClusterError(
                f"{name} was not deployed by `rackserve serve` or `up`: change `adapters` of {model} where it comes "
                "from (Helm values, or a Serve config file), and apply that; replicas are not restarted"
            )
        launch = Launch(with_adapters(spec, model, change), address, is_url_for_others=True)
        with stop_signals() as is_stopping:
            launch.start(is_stopping)
    finally:
        ray_api.disconnect()


def with_adapters(spec: ClusterSpec, model: str, change: Change) -> ClusterSpec:
    """Return `spec` with other adapters of a model, checked as a whole.

    Raises:
        SpecError: a name or source is wrong, or a name is taken.
        ClusterError: the model was started without room for adapters.
    """
    room = spec.model(model).adapter_room
    if not room:
        raise ClusterError(
            f"{model} was started without room for adapters: give it `adapter_slots: 4` in its cluster file and deploy "
            "that; its replicas are replaced one after the other"
        )

    def changed(each: ModelSpec) -> ModelSpec:
        # The room stays, also when the last adapter goes: another one would restart the replicas.
        return each.model_copy(update={"adapters": tuple(change(each)), "adapter_slots": room})

    models = tuple(changed(each) if each.name == model else each for each in spec.models)
    changed_spec = spec.model_copy(update={"models": models})
    return cluster_file.from_data(changed_spec.model_dump(mode="json", exclude_defaults=True), "adapters")


def _wait_until_served(name: str, model: str, address: str) -> None:
    """Wait until every replica of a model can serve an adapter, and every gateway knows so.

    Raises:
        ClusterError: one cannot, or they take longer than `TAKEN_OVER_S`.
    """
    deadline_s = time.monotonic() + TAKEN_OVER_S
    while True:
        gateways = gateway_states(CommandTarget(address=address))
        told = [row for state in gateways for row in adapters_in(state, model).values()]
        problems = {row["problems"][name] for row in told if name in row["problems"]}
        if problems:
            raise ClusterError(f"{name} cannot be served: {'; '.join(sorted(problems))}")
        is_known = all(state["adapters"].get(name) == model for state in gateways)
        if told and is_known and all(name in row["known"] for row in told):
            return
        if time.monotonic() > deadline_s:
            raise ClusterError(f"{name} is not served by all replicas of {model} after {TAKEN_OVER_S:g} s")
        time.sleep(LOOK_EVERY_S)
