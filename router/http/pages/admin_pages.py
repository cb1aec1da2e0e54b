"""The pages of the admin port, for operators: /metrics, /ready with details, /state and /why/REQUEST_ID."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from router.dispatch.journal import explanation
from router.estimator.model_estimator import ModelEstimator
from router.flow_control.queue_view import QueueView
from router.http.access_control.admin_access import AdminAccess, is_local
from router.http.api.errors import error_body
from router.http.connection.client import Client
from router.http.data_plane.answers import Answers
from router.http.data_plane.data_plane import DataPlane
from router.http.metrics.adapter_metrics import AdapterMetrics
from router.http.metrics.affinity_metrics import AffinityMetrics
from router.http.metrics.attainment_metrics import AttainmentMetrics
from router.http.metrics.engine_metrics import EngineMetrics
from router.http.metrics.flow_metrics import FlowMetrics
from router.http.metrics.media_metrics import MediaMetrics
from router.http.metrics.plan_metrics import PlanMetrics
from router.http.metrics.process_metrics import ProcessMetrics
from router.http.metrics.replica_metrics import ReplicaMetrics
from router.http.metrics.scaling_metrics import ScalingMetrics
from router.http.metrics.speculation_metrics import SpeculationMetrics
from router.http.metrics.tier_metrics import TierMetrics
from router.http.metrics.usage_metrics import UsageMetrics
from router.http.pages.affinity_page import affinity_of
from router.http.pages.operations import Operation, Operations
from router.http.pages.pages import HEALTHY, JSON, Page, answer_page
from router.http.pages.readiness import Readiness
from router.http.wire.request.incoming import IncomingRequest
from router.outcome import Outcome

WHY = b"/why/"
LATEST = 20
"""Number of requests that /why/ lists."""
_METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_INDEX = b"RackServe, for operators: /metrics, /ready, /state, /why/, /why/REQUEST_ID\n"


def collectors(plane: DataPlane) -> tuple[Collector, ...]:
    """Return the collectors of all families in /metrics."""
    return (
        plane.meters,
        ProcessMetrics(lambda: plane.loop_watch.longest_s, lambda: plane.incoming_bodies.total_bytes),
        FlowMetrics(lambda: _queues(plane), plane.models.room, plane.meters),
        ReplicaMetrics(plane.models.replicas),
        AdapterMetrics(plane.models.dispatchers),
        AttainmentMetrics(plane.models.dispatchers),
        AffinityMetrics(lambda: _learning(plane)),
        EngineMetrics(plane.models.replicas),
        PlanMetrics(plane.models.replicas),
        SpeculationMetrics(plane.models.replicas),
        TierMetrics(plane.models.replicas),
        MediaMetrics(plane.models.replicas),
        ScalingMetrics(plane.scaling_views),
        UsageMetrics(lambda: plane.usage.late_s if plane.usage is not None else None),
    )


class AdminPages:
    """Answers the pages of the admin port.

    Args:
        plane: the gateway's shared state.
        readiness: returns whether requests can be served, and why or why not.
        state: returns what /state shows.
        access: decides who may see which page.
        operations: what operators may do there, by path.
    """

    def __init__(
        self,
        plane: DataPlane,
        readiness: Callable[[], Readiness],
        state: Callable[[], dict[str, Any]],
        access: AdminAccess,
        operations: Mapping[bytes, Operation],
    ) -> None:
        self._answers = Answers(plane)
        self._operations = Operations(operations, self._answers)
        self._plane = plane
        self._access = access
        self._readiness = readiness
        registry = CollectorRegistry(auto_describe=False)
        for collector in collectors(plane):
            registry.register(collector)
        self._pages: Mapping[bytes, Page] = {
            b"/": lambda _: (200, b"text/plain; charset=utf-8", _INDEX),
            b"/health": lambda _: HEALTHY,
            b"/metrics": lambda _: (200, _METRICS_TYPE, generate_latest(registry)),
            b"/ready": self._ready,
            b"/state": lambda _: (200, JSON, msgspec.json.encode(state())),
        }

    def needs_body(self, client: Client, incoming: IncomingRequest) -> bool:
        """Tell whether a request's answer depends on its body: it is an operation that the client may call."""
        authorization = incoming.headers.get(b"authorization", b"")
        may_see = self._access.may_see(incoming.path, authorization, is_local=is_local(client.transport))
        return may_see and self._operations.at(incoming) is not None

    def handle(self, client: Client, incoming: IncomingRequest) -> None:
        """Answer a request for a page; refuse it if there is no such page, or if the client may not see it."""
        path = incoming.path
        page = self._why if path.startswith(WHY) or path == WHY[:-1] else self._pages.get(path)
        authorization = incoming.headers.get(b"authorization", b"")
        if not self._access.may_see(path, authorization, is_local=is_local(client.transport)):
            message = "this page is for operators: send the admin key as `authorization: Bearer KEY`"
            self._answers.refuse(client, incoming, Outcome.UNAUTHORIZED, message)
        elif page is None and self._operations.handle(client, incoming):
            return
        elif page is None:
            message = f"there is nothing at {path[:200].decode('ascii', 'replace')!r} on the admin port"
            self._answers.refuse(client, incoming, Outcome.NOT_FOUND, message)
        else:
            answer_page(self._answers, client, incoming, page)

    def _ready(self, incoming: IncomingRequest) -> tuple[int, bytes, bytes]:
        del incoming
        now = self._readiness()
        affinity = {
            name: affinity_of(dispatcher.fleet, dispatcher.estimator)
            for name, dispatcher in self._plane.models.dispatchers().items()
        }
        body = {"ready": now.is_ready, "reason": now.reason, "unmet": now.unmet, "affinity": affinity}
        return (200 if now.is_ready else 503), JSON, msgspec.json.encode(body)

    def _why(self, incoming: IncomingRequest) -> tuple[int, bytes, bytes]:
        """Return the page that explains why a request went to its replica; with an empty id, the last requests'."""
        request_id = unquote(incoming.path[len(WHY) :].decode("ascii"))
        journals = {name: dispatcher.journal for name, dispatcher in self._plane.models.dispatchers().items()}
        if not request_id:
            latest = [
                (entry.began_s, name, entry) for name, journal in journals.items() for entry in journal.latest(LATEST)
            ]
            latest.sort(key=lambda row: row[0], reverse=True)
            rows = [explanation(entry, name) for _, name, entry in latest[:LATEST]]
            return 200, JSON, msgspec.json.encode(rows)
        for name, journal in journals.items():
            entry = journal.find(request_id)
            if entry is not None:
                return 200, JSON, msgspec.json.encode(explanation(entry, name))
        kept = sum(len(journal) for journal in journals.values())
        message = f"no request {request_id!r} is remembered; the last {kept} are"
        return 404, JSON, error_body(Outcome.NOT_FOUND, message)


def _queues(plane: DataPlane) -> dict[str, QueueView]:
    now_s = plane.now_s()
    return {name: dispatcher.queue(now_s) for name, dispatcher in plane.models.dispatchers().items()}


def _learning(plane: DataPlane) -> dict[str, ModelEstimator]:
    """Return the estimators of the models whose policy reads prompts."""
    estimators = {name: dispatcher.estimator for name, dispatcher in plane.models.dispatchers().items()}
    return {name: estimator for name, estimator in estimators.items() if estimator.reads_prompts}
