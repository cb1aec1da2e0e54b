"""RackServe's own named actors."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

import ray
from ray.exceptions import RayActorError, RayError

from cluster.errors import ClusterError
from deployments.ray_api.cluster import NAMESPACE
from deployments.ray_api.errors import first_line, ray_errors

HEAD_NODE: Final = "node:__internal_head__"
"""The resource that only Ray's head node has."""


class ActorRef:
    """A reference to a named actor, which may restart or be replaced between two calls.

    Args:
        name: the actor's name.
        make: finds or makes the actor and returns Ray's handle of it.
    """

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        self._name = name
        self._make = make
        self._handle: Any = None
        self._looked_up: Future[Any] | None = None

    async def call(self, method: str, *args: Any) -> Any:  # noqa: ANN401 - the method's own
        """Call a method of the actor and return its result; the event loop goes on meanwhile.

        Raises:
            ClusterError: the actor is away, or its method failed.
        """
        try:
            if self._handle is None:
                self._handle = await self._find()
            return await getattr(self._handle, method).remote(*args)
        except RayActorError as error:
            self._handle = None  # dead or restarting: the next call finds it again or makes it
            raise ClusterError(f"the actor {self._name} is away: {first_line(error)}") from error
        except (RayError, ValueError, RuntimeError) as error:
            raise ClusterError(f"{self._name}.{method} failed: {first_line(error)}") from error

    async def _find(self) -> Any:  # noqa: ANN401 - Ray's handle
        """Find or make the actor in a thread, as Ray blocks for a minute or for good while its head is away.

        A look-up that still blocks is shared by all later calls: there is one thread, however often they are repeated.
        The thread does not keep the process from ending.
        """
        if self._looked_up is None or self._looked_up.done():
            self._looked_up = Future()
            threading.Thread(target=self._look_up, args=(self._looked_up,), name=self._name, daemon=True).start()
        return await asyncio.shield(asyncio.wrap_future(self._looked_up))

    def _look_up(self, found: "Future[Any]") -> None:
        try:
            found.set_result(self._make())
        except BaseException as error:  # noqa: BLE001 - the caller's to handle
            found.set_exception(error)

    def call_now(self, method: str, *args: Any, timeout_s: float = 10.0) -> Any:  # noqa: ANN401 - the method's own
        """Call a method and wait for the result, from a thread without an event loop.

        Raises:
            ClusterError: the actor is away or slow, or its method failed.
        """
        try:
            if self._handle is None:
                self._handle = self._make()
            return ray.get(getattr(self._handle, method).remote(*args), timeout=timeout_s)
        except (RayError, ValueError, RuntimeError) as error:
            self._handle = None
            raise ClusterError(f"{self._name}.{method} failed: {first_line(error)}") from error


def durable_actor(actor_class: type, name: str, *args: Any, on_head: bool = False) -> ActorRef:  # noqa: ANN401 - the constructor's own
    """Return the actor `name`; it is made if there is none, outlives its maker and restarts when it dies.

    It counts as 0 CPUs in Ray's accounting. Its methods must be coroutines; thousands of calls may wait in it at once.

    Args:
        actor_class: the actor's class.
        name: the actor's name.
        args: the constructor's arguments.
        on_head: place it on the head node, so that no other node's loss ends it; without a head it has nothing to do.
    """

    def make() -> Any:  # noqa: ANN401 - a Ray handle
        return (
            ray.remote(actor_class)
            .options(
                name=name,
                namespace=NAMESPACE,
                lifetime="detached",
                get_if_exists=True,
                max_restarts=-1,
                num_cpus=0,
                max_concurrency=10_000,
                resources={HEAD_NODE: 0.001} if on_head else None,
            )
            .remote(*args)
        )

    return ActorRef(name, make)


def existing_actor(name: str) -> ActorRef:
    """Return the actor `name`; calls raise ClusterError while there is none."""
    return ActorRef(name, lambda: ray.get_actor(name, namespace=NAMESPACE))


def actor_names() -> list[str]:
    """Return the names of RackServe's live named actors, sorted."""
    with ray_errors("listing actors"):
        actors = ray.util.list_named_actors(all_namespaces=True)
    return sorted(actor["name"] for actor in actors if actor["namespace"] == NAMESPACE)


def kill_actor(name: str, *, restart: bool = False) -> None:
    """End the actor `name` at once, if there is one; with `restart`, Ray starts it again."""
    with contextlib.suppress(ValueError), ray_errors(f"ending the actor {name}"):
        ray.kill(ray.get_actor(name, namespace=NAMESPACE), no_restart=not restart)


def end_this_actor() -> None:
    """End the actor that this process runs, for good; ClusterError if Ray could not be told."""
    with ray_errors("ending this actor"):
        ray.kill(ray.get_runtime_context().current_actor, no_restart=True)
