"""Flow control of one gateway process: what all models share of it, and one `ModelFlow` each."""

from collections.abc import Callable, Mapping, Sequence
from itertools import count

from cluster.spec.cluster_spec import GatewaySpec, ModelSpec, TenantSpec
from router.dispatch.fleet import Fleet
from router.dispatch.gateway_load import GatewayLoad
from router.estimator.model_estimator import ModelEstimator
from router.flow_control.limits import AdmissionLimits, TenantLimits, WaitingRoom
from router.flow_control.priority import Priority, priority_named
from router.flow_control.rate_limits import RateLimits
from router.flow_control.verdict import reject
from router.http.auth import ANONYMOUS
from router.http.metrics.meters import Meters
from router.http.model_flow import ModelFlow
from router.outcome import Outcome


class FlowControl:
    """Every model's flow control.

    Args:
        spec: how much may wait, and the tenants.
        fleet: whose replicas; told apart by `fleet.on_change`.
        meters: where waits are counted.
        now_s: monotonic seconds.

    Attributes:
        models: by name.
        room: what waits.
        on_held: called when a request is held because its model has no replica.
    """

    def __init__(self, spec: GatewaySpec, fleet: Fleet, meters: Meters, now_s: Callable[[], float]) -> None:
        self.models: dict[str, ModelFlow] = {}
        self.room = WaitingRoom(spec.max_waiting_requests, spec.max_waiting_bytes)
        self.on_held: Callable[[], None] | None = None
        self._fleet = fleet
        self._meters = meters
        self._now_s = now_s
        # Where nobody is told apart, everybody is trusted to say what is urgent.
        anonymous = TenantLimits(max_priority=Priority.HIGH)
        self._tenants = {tenant.name: _limits_of(tenant) for tenant in spec.tenants} or {ANONYMOUS.name: anonymous}
        self._rates = RateLimits(self._tenants, now_s())
        self._sequence = count(1)
        fleet.on_change = self._replicas_changed

    def set_models(self, models: Sequence[ModelSpec], outlooks: Mapping[str, ModelEstimator]) -> None:
        """Serve exactly these models, which the fleet knows already."""
        for name in self.models.keys() - {model.name for model in models}:
            verdict = reject(Outcome.MODEL_NOT_FOUND, 1.0, f"the model {name!r} was taken out of the cluster")
            self.models.pop(name).refuse_all(verdict)
        for model in models:
            limits = AdmissionLimits(
                max_wait_s=model.max_wait_s, cold_start_timeout_s=model.cold_start_timeout_s, tenants=self._tenants
            )
            flow = self.models.get(model.name)
            if flow is None:
                meters = self._meters.model(model.name)
                flow = ModelFlow(
                    model.name, limits, self.room, self._rates, now_s=self._now_s, on_dispatched=meters.dispatched
                )
                flow.on_held = self._held
                self.models[model.name] = flow
            else:
                flow.admission.set_limits(limits)
            flow.outlook = outlooks.get(model.name)
            self._replicas_changed(model.name)

    def _held(self) -> None:
        if self.on_held is not None:
            self.on_held()

    def _replicas_changed(self, model: str) -> None:
        flow = self.models.get(model)
        if flow is not None:
            fleet = self._fleet.models[model]
            flow.refresh(fleet.replicas, fleet.candidates)

    def tick(self) -> None:
        """Refuse those whose time is over; call a few times a second."""
        for flow in self.models.values():
            flow.tick()

    def shut_down(self) -> None:
        """Refuse all that wait: the gateway ends."""
        for flow in self.models.values():
            flow.refuse_all(reject(Outcome.SHUTTING_DOWN, 1.0, "this gateway is stopping; ask again"))

    def load(self, gateway_id: str) -> GatewayLoad:
        """Return what the autoscaler is told."""
        models = []
        for name, flow in self.models.items():
            fleet = self._fleet.models[name]
            models.append(flow.load([replica.report for replica in fleet.staying()]))
        return GatewayLoad(gateway_id, next(self._sequence), tuple(models))


def _limits_of(tenant: TenantSpec) -> TenantLimits:
    priority = priority_named(tenant.priority)
    rates = {
        name: value
        for name in ("requests_per_minute", "tokens_per_minute")
        if (value := getattr(tenant, name)) is not None
    }
    most_urgent = priority_named(tenant.max_priority) if tenant.max_priority is not None else priority
    return TenantLimits(weight=tenant.weight, priority=priority, max_priority=most_urgent, **rates)
