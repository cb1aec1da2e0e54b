"""The autoscaling policy of our models in Ray Serve's controller: it returns the target that the actor decided on.

Serve calls a policy twice a second from its control loop, so the call must not wait. A thread gets the target by
long poll, within milliseconds of a change; the call only reads it.
"""

import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Final

import deployments.ray_api as ray_api
from cluster.errors import ClusterError
from cluster.pool_scaling.scaled_pool import ScaledPool
from cluster.spec.model_spec import label_of
from deployments.autoscaling.actor import POLL_S, Following, ScalingActor, actor_name

RETRY_S: Final = 0.5
"""Seconds between two tries while the actor is away."""
CALL_TIMEOUT_S: Final = POLL_S + 5.0
"""Seconds after which a long poll fails; the actor answers after `POLL_S` at the latest."""


class QueueDepthPolicy:
    """The policy of one pool of a model: returns the number of replicas that the application's actor decided on.

    Until the first answer the number stays as it is; while the actor is away, the last target holds.

    Args:
        model: the model's name.
        pool: the pool's name; "": the model has one pool without a name.
        pools: all pools of the model, in the cluster file's order: name, role, and the fields of `AutoscalingTargets`
            as `targets`. The load is divided among them, so each pool's policy knows all.
    """

    def __init__(self, model: str, pool: str, pools: Sequence[Mapping[str, Any]]) -> None:
        self._model = model
        self._pool = pool
        self._pools = tuple(ScaledPool.of(each) for each in pools)
        self._since_s = time.time()
        self._replicas = 0
        self._target: int | None = None
        self._thread: threading.Thread | None = None

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:  # noqa: ANN401 - Ray's AutoscalingContext
        """Return the number of replicas that there should be, and an empty policy state, as none is used."""
        self._replicas = int(context.target_num_replicas)
        if self._thread is None:
            # Serve makes a new policy at every deployment. The thread holds no reference, so it ends with the old one.
            actor = ray_api.durable_actor(ScalingActor, actor_name(context.app_name))
            self._thread = threading.Thread(
                target=_follow,
                args=(weakref.ref(self), actor),
                name=f"autoscaling {label_of(self._model, self._pool)}",
                daemon=True,
            )
            self._thread.start()
        return (self._replicas if self._target is None else self._target), {}

    @property
    def following(self) -> Following:
        """The request that is sent to the actor."""
        return Following(self._model, self._pool, self._pools, self._since_s, self._replicas, self._target)

    def take(self, target: int) -> None:
        """Use this target from now on."""
        self._target = target


def _follow(of: "weakref.ref[QueueDepthPolicy]", actor: ray_api.ActorRef) -> None:
    while (policy := of()) is not None:
        following = policy.following
        del policy  # the call must not keep it alive
        try:
            target = int(actor.call_now("follow", following, timeout_s=CALL_TIMEOUT_S))
        except ClusterError:
            time.sleep(RETRY_S)
            continue
        policy = of()
        if policy is not None:
            policy.take(target)
        del policy
