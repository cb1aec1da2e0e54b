"""Pages about the gateway itself: /health, /ready, /metrics and, for operators, /state and /why/REQUEST_ID."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from router.dispatch.journal import explanation
from router.estimator.model_estimator import ModelEstimator
from router.flow_control.queue_view import QueueView
from router.http.affinity_page import affinity_of
from router.http.answers import Answers
from router.http.api.errors import error_body
from router.http.client import Client
from router.http.data_plane import DataPlane
from router.http.metrics.affinity_metrics import AffinityMetrics
from router.http.metrics.engine_metrics import EngineMetrics
from router.http.metrics.flow_metrics import FlowMetrics
from router.http.metrics.replica_metrics import ReplicaMetrics
from router.http.metrics.scaling_metrics import ScalingMetrics
from router.http.readiness import Readiness
from router.http.served_models import ServedModels
from router.http.wire.incoming import IncomingRequest
from router.outcome import Outcome

WHY = b"/why/"
LATEST = 20
"""Number of requests that /why/ lists."""
READ_ONLY = (b"GET", b"HEAD")
"""Methods that pages answer."""
_JSON = b"application/json"
_METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

Page = Callable[[], tuple[int, bytes, bytes]]
"""Returns status, content type and body."""


def collectors(plane: DataPlane) -> tuple[Collector, ...]:
    """Return the collectors of all families in /metrics."""
    return (
        plane.meters,
        FlowMetrics(lambda: _queues(plane), plane.models.room, plane.meters),
        ReplicaMetrics(plane.models.replicas),
        AffinityMetrics(lambda: _learning(plane)),
        EngineMetrics(plane.models.replicas),
        ScalingMetrics(plane.scaling_views),
    )


class Pages:
    """Answers the pages about the gateway.

    Args:
        plane: the gateway's shared state.
        readiness: returns whether requests can be served, and why or why not.
        state: returns what /state shows on the operators' port; None on the apps' port, which has no /state and /why.
    """

    def __init__(
        self,
        plane: DataPlane,
        readiness: Callable[[], Readiness],
        state: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        self._answers = Answers(plane)
        registry = CollectorRegistry(auto_describe=False)
        for collector in collectors(plane):
            registry.register(collector)

        def ready() -> tuple[int, bytes, bytes]:
            now = readiness()
            affinity = {
                name: affinity_of(dispatcher.fleet, dispatcher.estimator)
                for name, dispatcher in plane.models.dispatchers().items()
            }
            body = {"ready": now.is_ready, "reason": now.reason, "unmet": now.unmet, "affinity": affinity}
            return (200 if now.is_ready else 503), _JSON, msgspec.json.encode(body)

        pages: dict[bytes, Page] = {
            b"/health": lambda: (200, _JSON, b'{"status":"ok"}'),
            b"/ready": ready,
            b"/metrics": lambda: (200, _METRICS_TYPE, generate_latest(registry)),
        }
        if state is not None:
            pages[b"/state"] = lambda: (200, _JSON, msgspec.json.encode(state()))
        self._pages: Mapping[bytes, Page] = pages
        self._models = plane.models if state is not None else None

    def handle(self, client: Client, incoming: IncomingRequest) -> None:
        """Answer a request for a page, or refuse it if there is no such page."""
        page = self._pages.get(incoming.path)
        if page is None and self._models is not None and incoming.path.startswith(WHY):
            page = partial(self._why, self._models, incoming.path.removeprefix(WHY).decode("ascii"))
        if page is None:
            path = incoming.path[:200].decode("ascii")
            message = f"there is nothing at {path!r}; the API is under /v1/"
            self._answers.refuse(client, incoming, Outcome.NOT_FOUND, message)
        elif incoming.method not in READ_ONLY:
            self._answers.refuse(client, incoming, Outcome.METHOD_NOT_ALLOWED, "only GET and HEAD are answered here")
        else:
            status, content_type, body = page()
            self._answers.answer(client, incoming, status, body, content_type=content_type)

    @staticmethod
    def _why(models: ServedModels, request_id: str) -> tuple[int, bytes, bytes]:
        """Return the page that explains why a request went to its replica; with an empty id, the last requests'."""
        journals = {name: dispatcher.journal for name, dispatcher in models.dispatchers().items()}
        if not request_id:
            latest = [
                (entry.began_s, name, entry) for name, journal in journals.items() for entry in journal.latest(LATEST)
            ]
            latest.sort(key=lambda row: row[0], reverse=True)
            rows = [explanation(entry, name) for _, name, entry in latest[:LATEST]]
            return 200, _JSON, msgspec.json.encode(rows)
        for name, journal in journals.items():
            entry = journal.find(request_id)
            if entry is not None:
                return 200, _JSON, msgspec.json.encode(explanation(entry, name))
        kept = sum(len(journal) for journal in journals.values())
        message = f"no request {request_id!r} is remembered; the last {kept} are"
        return 404, _JSON, error_body(Outcome.NOT_FOUND, message)


def _queues(plane: DataPlane) -> dict[str, QueueView]:
    now_s = plane.now_s()
    return {name: dispatcher.queue(now_s) for name, dispatcher in plane.models.dispatchers().items()}


def _learning(plane: DataPlane) -> dict[str, ModelEstimator]:
    """Return the estimators of the models whose policy reads prompts."""
    estimators = {name: dispatcher.estimator for name, dispatcher in plane.models.dispatchers().items()}
    return {name: estimator for name, estimator in estimators.items() if estimator.reads_prompts}
