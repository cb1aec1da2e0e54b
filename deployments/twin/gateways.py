"""The gateways of a simulated cluster: the live dispatcher of each model, several times with views of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from cluster.spec.gateway_spec import GatewaySpec
from cluster.spec.model_spec import ModelSpec
from deployments.twin.arrivals import ANYBODY
from deployments.twin.member import Job
from router.dispatch.dispatcher import Dispatcher
from router.dispatch.engine import Engines
from router.flow_control.limits import TenantLimits, WaitingRoom
from router.flow_control.priority import Priority
from router.flow_control.rate_limits import RateLimits
from router.flow_control.spec_limits import model_limits, tenant_limits
from router.scheduling.registry import reads_prompts


@dataclass(slots=True)
class ModelGateway:
    """One model in one gateway.

    Attributes:
        dispatcher: decides where its requests go.
        waiting: its waiting requests, by their tickets' numbers.
        opening_s: time at which waiting requests are looked at again; below 0: none was put into the queue of events.
    """

    dispatcher: Dispatcher
    waiting: dict[int, Job] = field(default_factory=dict)
    opening_s: float = -1.0


class Gateways:
    """All gateways.

    Args:
        spec: bounds of what may wait, and the tenants.
        models: the models.
        count: number of gateway processes.
        seed: seed of their generators.

    Attributes:
        rows: for each gateway, its models in the order of `models`.
        reads_prompts: for each model, whether its policy reads prompts, so wants to know what caches hold.
    """

    def __init__(self, spec: GatewaySpec, models: Sequence[ModelSpec], count: int, seed: int) -> None:
        # Without tenants each request may ask for any class, as in the live gateway.
        limits: Mapping[str, TenantLimits] = tenant_limits(spec.tenants) or {
            ANYBODY: TenantLimits(max_priority=Priority.HIGH)
        }
        self.reads_prompts = [reads_prompts(model.policy) for model in models]
        self.rows = [self._gateway(spec, models, limits, seed, number) for number in range(count)]

    @staticmethod
    def _gateway(
        spec: GatewaySpec, models: Sequence[ModelSpec], limits: Mapping[str, TenantLimits], seed: int, number: int
    ) -> list[ModelGateway]:
        room = WaitingRoom(spec.max_waiting_requests, spec.max_waiting_bytes)
        rates, engines = RateLimits(dict(limits), 0.0), Engines()
        rng = Random(f"gateway {seed} {number}")  # noqa: S311 - breaks ties, replayable
        return [
            ModelGateway(
                Dispatcher(
                    model.name,
                    model.policy,
                    rng=rng,
                    limits=model_limits(model, limits),
                    room=room,
                    rates=rates,
                    engines=engines,
                )
            )
            for model in models
        ]

    def __len__(self) -> int:
        return len(self.rows)
