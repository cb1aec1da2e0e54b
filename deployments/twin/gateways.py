"""The gateways of a simulated cluster: the live dispatcher of each model, several times with views of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

from cluster.spec.gateway_spec import GatewaySpec
from cluster.spec.model_spec import ModelSpec
from deployments.directory.share_table import ShareTable
from deployments.twin.arrivals import ANYBODY
from deployments.twin.member import Job
from router.dispatch.dispatcher import Dispatcher
from router.dispatch.engine import Engines
from router.flow_control.limits import TenantLimits, WaitingRoom
from router.flow_control.priority import Priority
from router.flow_control.spec_limits import model_limits, tenant_limits
from router.flow_control.tenant_limits.rate_limits import RateLimits
from router.scheduling.registry import reads_prompts

if TYPE_CHECKING:
    from router.flow_control.tenant_limits.limit_shares import LimitKey

RENEW_S: Final = 0.5
"""Seconds between two divisions of the tenants' limits between gateways (`deployments/gateway/limit_renewal.py`)."""


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
        self._rates = [RateLimits(dict(limits), 0.0) for _ in range(count)]
        self._shares = ShareTable(0.0, 0.0)
        self._held: list[Mapping[LimitKey, float]] = [{} for _ in range(count)]
        self.rows = [
            self._gateway(spec, models, limits, rates, Random(f"gateway {seed} {number}"))  # noqa: S311 - replayable
            for number, rates in enumerate(self._rates)
        ]

    @property
    def shares_limits(self) -> bool:
        """Whether several gateways share limits of tenants."""
        return len(self.rows) > 1 and self._rates[0].applies

    def share_limits(self, now_s: float) -> None:
        """Divide the tenants' limits between the gateways as the directory does it live; call every `RENEW_S`."""
        for number, rates in enumerate(self._rates):
            deal = self._shares.deal(f"gateway-{number}", rates.wants(now_s), self._held[number], now_s)
            self._held[number] = deal.parts
            rates.share(deal, now_s)

    @staticmethod
    def _gateway(
        spec: GatewaySpec,
        models: Sequence[ModelSpec],
        limits: Mapping[str, TenantLimits],
        rates: RateLimits,
        rng: Random,
    ) -> list[ModelGateway]:
        room, engines = WaitingRoom(spec.max_waiting_requests, spec.max_waiting_bytes), Engines()
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
