"""The models of one gateway process, each with its dispatcher; passes news of replicas on to the right one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import structlog

from cluster.autoscaling.metrics.figures import GatewayFigures
from cluster.spec.gateway_spec import GatewaySpec, TenantSpec
from cluster.spec.model_spec import ModelSpec
from router.dispatch.dispatcher import Dispatcher
from router.dispatch.engine import Engines
from router.dispatch.replica import Replica
from router.estimator.learned_rates import ProbeOutcome
from router.flow_control.limits import AdmissionLimits, TenantLimits, WaitingRoom
from router.flow_control.priority import Priority
from router.flow_control.spec_limits import model_limits, tenant_limits
from router.flow_control.tenant_limits.rate_limits import RateLimits
from router.flow_control.verdict import reject
from router.http.access_control.auth import ANONYMOUS
from router.http.metrics.meters import Meters
from router.http.models.model_flow import ModelFlow
from router.outcome import Outcome
from router.prefix_cache.exact import ResidencyDelta
from router.replicas.adapter_report import AdapterReport
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.replicas.model_card import ModelCard, agreed
from router.scheduling.needed_telemetry import lack, provides

if TYPE_CHECKING:
    from cluster.spec.model_parts.task import Task

_log = structlog.get_logger("rackserve.gateway")


class ServedModels:
    """The dispatchers of all models, and what they share: tenants' limits and the room for waiting requests.

    Args:
        spec: bounds of what may wait, and the tenants.
        meters: counts the waits.
        rng: breaks ties.
        now_s: returns the time, monotonic seconds.

    Attributes:
        flows: each model's dispatcher on the event loop, by model.
        tasks: what the models are served for, where the cluster file says it, by model.
        rates: the tenants' rate limits over all models.
        room: requests and bytes that wait, of all models together, and their bounds.
        on_held: called when a request is held because no replica of its model takes requests.
        engines: the engines that replicas of any model run on.
        unheard: names of servers whose models nobody knows yet, so a model that is not known may still come.
        adapters: each adapter's base model, by the adapter's name.
    """

    def __init__(self, spec: GatewaySpec, meters: Meters, rng: Random, now_s: Callable[[], float]) -> None:
        self.flows: dict[str, ModelFlow] = {}
        self.tasks: dict[str, Task] = {}
        self.room = WaitingRoom(spec.max_waiting_requests, spec.max_waiting_bytes)
        self.on_held: Callable[[], None] = _nothing
        self.unheard: tuple[str, ...] = ()
        self.engines = Engines()
        self.adapters: dict[str, str] = {}
        self._sources: dict[str, str] = {}
        self._meters = meters
        self._rng = rng
        self._now_s = now_s
        # Without tenants there is nobody to protect from others: each request may ask for any class.
        anonymous = TenantLimits(max_priority=Priority.HIGH)
        self._tenants = tenant_limits(spec.tenants) or {ANONYMOUS.name: anonymous}
        self.rates = RateLimits(self._tenants, now_s())
        self._model_of: dict[str, str] = {}

    def dispatchers(self) -> dict[str, Dispatcher]:
        """Return the dispatchers, by model."""
        return {name: flow.dispatcher for name, flow in self.flows.items()}

    def replicas(self) -> list[Replica]:
        """Return the replicas of all models."""
        return [replica for flow in self.flows.values() for replica in flow.dispatcher.fleet.replicas.values()]

    def names(self) -> list[str]:
        """Return the names that apps may ask for, of models and of adapters, sorted."""
        return sorted([*self.flows, *self.adapters])

    def named(self, name: str) -> ModelFlow | None:
        """Return the flow of the model, or of the base model of the adapter, with a name; None: there is none."""
        return self.flows.get(name) or self.flows.get(self.adapters.get(name, ""))

    def card(self, name: str) -> ModelCard:
        """Return what the replicas of a model that is served say of it; of an adapter, what the spec says.

        Raises:
            KeyError: there is no such model.
        """
        base = self.adapters.get(name)
        if base is not None:
            return replace(self.card(base), root=self._sources[name], parent=base)
        replicas = self.flows[name].dispatcher.fleet.replicas
        return agreed(replica.endpoint.card for _, replica in sorted(replicas.items()))

    def lack_of(self, adapter: str) -> str:
        """Return why no replica can serve an adapter now; "": one can, or there is none that could say."""
        fleet = self.flows[self.adapters[adapter]].dispatcher.fleet
        # For each request for an adapter: it ends at the first replica, as a rule.
        if any(each.adapters.may_serve(adapter) for each in fleet.candidates):
            return ""
        staying = [replica.adapters for replica in fleet.staying()]
        if not staying or any(each.may_serve(adapter) for each in staying):
            return ""
        told = (each.report.problems.get(adapter) for each in staying if each.report is not None)
        return next(filter(None, told), "its replicas have not taken it over yet")

    def set_models(self, models: Sequence[ModelSpec]) -> list[Endpoint]:
        """Serve exactly these models from now on; running requests go on.

        Returns:
            The endpoints of the replicas whose model is no longer served.

        Raises:
            PolicyError: a model names a policy that does not exist.
        """
        now_s = self._now_s()
        self.tasks = {model.name: model.served_task for model in models if model.served_task is not None}
        gone: list[Endpoint] = []
        for name in self.flows.keys() - {model.name for model in models}:
            flow = self.flows.pop(name)
            flow.dispatcher.close(
                reject(Outcome.MODEL_NOT_FOUND, 1.0, f"the model {name!r} was taken out of the cluster"), now_s
            )
            flow.answer_refused()
            gone += flow.dispatcher.set_replicas((), now_s)[1]
            self._meters.forget(name)
        for model in models:
            limits = model_limits(model, self._tenants)
            known = self.flows.get(model.name)
            if known is None:
                self.flows[model.name] = self._new_flow(model, limits)
            else:
                known.dispatcher.set_limits(limits)
                known.dispatcher.set_policy(model.policy, now_s)
                known.room_opened()
        self.adapters = {adapter.name: model.name for model in models for adapter in model.adapters}
        self._sources = {adapter.name: adapter.source for model in models for adapter in model.adapters}
        for model in models:
            self.flows[model.name].dispatcher.estimator.adapters.keep_only({each.name for each in model.adapters})
        for endpoint in gone:
            self._model_of.pop(endpoint.replica_id, None)
        return gone

    def set_tenants(self, tenants: Sequence[TenantSpec]) -> None:
        """Apply other tenants' shares and limits from now on; what is used up of a limit that stays, stays used up."""
        self._tenants = tenant_limits(tenants)
        self.rates.set_tenants(self._tenants, self._now_s())
        for flow in self.flows.values():
            flow.dispatcher.set_limits(replace(flow.dispatcher.limits, tenants=self._tenants))
            flow.room_opened()

    def _new_flow(self, model: ModelSpec, limits: AdmissionLimits) -> ModelFlow:
        dispatcher = Dispatcher(
            model.name,
            model.policy,
            rng=self._rng,
            limits=limits,
            room=self.room,
            rates=self.rates,
            engines=self.engines,
        )
        return ModelFlow(
            dispatcher,
            now_s=self._now_s,
            on_dispatched=self._meters.serve(model.name).dispatched,
            on_held=self._held,
        )

    def _held(self) -> None:
        self.on_held()

    def set_replicas(self, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """Take the replicas that exist, from the directory; those of models that are not served are ignored.

        Returns:
            The endpoints of the replicas that are gone.
        """
        now_s = self._now_s()
        by_model: dict[str, list[Endpoint]] = {name: [] for name in self.flows}
        for endpoint in endpoints:
            if endpoint.model in by_model:
                by_model[endpoint.model].append(endpoint)
        self._model_of = {row.replica_id: name for name, rows in by_model.items() for row in rows}
        all_gone: list[Endpoint] = []
        for name, rows in by_model.items():
            flow = self.flows[name]
            new, gone = flow.dispatcher.set_replicas(rows, now_s)
            all_gone += gone
            flow.room_opened()
            policy = flow.dispatcher.fleet.policy
            for endpoint in new:
                if not provides(endpoint, policy):
                    _log.warning("a replica gets requests only where no other is left", why=lack(policy, endpoint))
        return all_gone

    def report(self, replica_id: str, report: LoadReport | None) -> None:
        """Take a replica's load report; None: its reports no longer arrive."""
        flow = self._flow_of(replica_id)
        if flow is not None:
            flow.report(replica_id, report)

    def heard_of(self, replica_id: str) -> None:
        """Note that a server lives, for all of its models."""
        for flow, replica in self._records_of(replica_id):
            replica.heard_s = flow.now_s()

    def report_adapters(self, replica_id: str, report: AdapterReport) -> None:
        """Take a replica's report of its adapters."""
        flow = self._flow_of(replica_id)
        replica = flow.dispatcher.fleet.replicas.get(replica_id) if flow is not None else None
        if replica is not None:
            replica.adapters.reported(report)

    def requests_at(self, replica_id: str) -> tuple[int, int]:
        """Return how many requests of this gateway run on a server, and how many were ever sent there, of all models.

        Prompts are read for at least one of its models; else the second number is not counted.
        """
        replica = next((replica for _, replica in self._records_of(replica_id)), None)
        return (replica.engine.in_flight, replica.pending.unreported.sent) if replica is not None else (0, 0)

    def wants_rates(self, replica_id: str) -> bool:
        """Return whether a server has a model whose rates there are used, and nothing has told them yet."""
        return any(flow.dispatcher.estimator.wants_rates(replica) for flow, replica in self._records_of(replica_id))

    def learn_rates(self, replica_id: str, probes: Sequence[ProbeOutcome]) -> None:
        """Learn a server's rates from probes, at least one, for all of its models of which nothing is known yet."""
        for flow, replica in self._records_of(replica_id):
            flow.dispatcher.estimator.probed(replica, probes)

    def _records_of(self, replica_id: str) -> Iterator[tuple[ModelFlow, Replica]]:
        """Yield the models that a server has, with their record of it."""
        for flow in self.flows.values():
            replica = flow.dispatcher.fleet.replicas.get(replica_id)
            if replica is not None:
                yield flow, replica

    def apply_residency(self, replica_id: str, delta: ResidencyDelta) -> bool:
        """Take the chunks that a replica's cache gained and lost.

        Returns:
            False if deltas are missing, so the replica must be asked for a snapshot.
        """
        flow = self._flow_of(replica_id)
        return flow.dispatcher.apply_residency(replica_id, delta) if flow is not None else True

    def _flow_of(self, replica_id: str) -> ModelFlow | None:
        return self.flows.get(self._model_of.get(replica_id, ""))

    def tick(self) -> None:
        """Enforce the time limits of requests and replicas; call a few times a second."""
        for flow in self.flows.values():
            flow.tick()

    def shut_down(self) -> None:
        """Refuse all waiting requests, as the gateway stops."""
        refusal = reject(Outcome.SHUTTING_DOWN, 1.0, "this gateway is stopping; ask again")
        for flow in self.flows.values():
            flow.dispatcher.refuse_all(refusal, self._now_s())
            flow.answer_refused()

    def load(self) -> Mapping[str, GatewayFigures]:
        """Return the figures for the autoscaler, by model."""
        now_s = self._now_s()
        return {name: flow.dispatcher.load(now_s) for name, flow in self.flows.items()}


def _nothing() -> None:
    pass
