"""The replica's side of telemetry: streams its load and its residency to each gateway that watches it."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

import grpc
import grpc.aio

from deployments.engines.fetch_meter import FetchStats
from deployments.engines.interface import EngineStats, Medium
from deployments.kv_residency.replica_residency import ReplicaResidency
from deployments.kv_residency.residency_log import ResidencyLog
from deployments.telemetry import telemetry_pb2 as pb
from deployments.telemetry import telemetry_pb2_grpc as pb_grpc
from deployments.telemetry.adapter_messages import adapters_message
from deployments.telemetry.residency_messages import delta_message, snapshot_messages
from deployments.telemetry.speculation_messages import speculation_message
from deployments.telemetry.step_messages import step_message
from deployments.telemetry.tier_messages import tier_message
from router.prompt.cut import CUT_VERSION
from router.replicas.adapter_report import AdapterReport
from router.replicas.media_report import NO_MEDIA, MediaReport
from router.replicas.tier_report import TierReport

MIN_INTERVAL_S: Final = 0.05
"""Shortest time, in seconds, between two load reports to one gateway."""
DEFAULT_INTERVAL_S: Final = 0.1
"""Shortest time, in seconds, between two load reports to a gateway that asks for no interval."""
PULSED_SILENCE_S: Final = 1.5
"""Longest time, in seconds, without a report to a gateway that hears the replica's pulse, even if nothing changed.

Half of the gateways' `STALE_S`, after which they take the stream itself for broken.
"""
MAX_SILENCE_S: Final = 0.4
"""Longest time, in seconds, without a report to another gateway, even if nothing changed.

Gateways count a replica as silent after twice this time.
"""

Listen = Callable[[Callable[[], None]], Callable[[], None]]
"""Takes a function to call at each event, and returns one that ends this."""


class TelemetryService(pb_grpc.TelemetryServicer):
    """Streams one replica's reports.

    Args:
        replica_id: unique for this life of the replica.
        model: the model it serves.
        credential: the cluster's internal credential, which gateways must show.
        stats: returns the engine's state now; called up to 20 times a second for each gateway while there is work.
        accepted: returns how many requests from the gateway with an id were accepted.
        gateways: returns how many gateways have requests here now.
        residency: which prompt chunks the engine's cache holds; None: not known.
        when_work_comes: says when a request comes, so that an idle engine need not be looked at to see it; None: it is.
        adapters: returns the engine's LoRA adapters now; None: it has room for none.
    """

    def __init__(  # noqa: PLR0913 - all that is reported
        self,
        *,
        replica_id: str,
        model: str,
        credential: str,
        stats: Callable[[], EngineStats],
        accepted: Callable[[str], int],
        gateways: Callable[[], int],
        residency: ReplicaResidency | None = None,
        when_work_comes: Listen | None = None,
        adapters: Callable[[], AdapterReport | None] = lambda: None,
    ) -> None:
        self._replica_id = replica_id
        self._model = model
        self._authorization = f"Bearer {credential}".encode()
        self._stats = stats
        self._accepted = accepted
        self._gateways = gateways
        self._residency = residency
        self._when_work_comes = when_work_comes
        self._adapters = adapters

    async def Watch(  # noqa: N802 - the name in the .proto
        self, request: pb.WatchRequest, context: "grpc.aio.ServicerContext[pb.WatchRequest, pb.Report]"
    ) -> AsyncIterator[pb.Report]:
        """Stream reports until the gateway closes the stream."""
        await self._check_credential(context)
        asked_s = request.min_interval_ms / 1000 or DEFAULT_INTERVAL_S
        interval_s = min(max(asked_s, MIN_INTERVAL_S), MAX_SILENCE_S)
        silence_s = PULSED_SILENCE_S if request.hears_pulse else MAX_SILENCE_S
        hello = pb.Hello(
            replica_id=self._replica_id,
            model=self._model,
            max_silence_ms=round(silence_s * 1000),
            cut_version=CUT_VERSION,
        )
        sequence = 1
        yield pb.Report(sequence=sequence, hello=hello)
        residency = self._residency if request.residency and request.cut_version == CUT_VERSION else None
        changed = asyncio.Event()
        sources = [residency.listen if residency is not None else None, self._when_work_comes]
        stop_listening = [listen(changed.set) for listen in sources if listen is not None]
        stream = _ResidencyStream(residency.log if residency is not None else None)
        told: AdapterReport | None = None
        loop = asyncio.get_running_loop()
        last, sent_s, due_s, looked_s = None, 0.0, loop.time(), -interval_s
        try:
            while True:
                now_s = loop.time()
                if changed.is_set():
                    due_s = min(due_s, looked_s + interval_s)
                changed.clear()
                if now_s >= due_s:
                    load = self._load(request.gateway_id)
                    if load != last:
                        sequence += 1
                        sent_s = now_s
                        yield pb.Report(sequence=sequence, load=load)
                    elif now_s + interval_s - sent_s > silence_s:
                        sequence += 1
                        sent_s = now_s
                        yield pb.Report(sequence=sequence)  # the load is still the last one
                    calm = load == last and self._is_idle(load)
                    last, looked_s = load, now_s
                    due_s = sent_s + silence_s if calm else now_s + interval_s
                    adapters = self._adapters()
                    if adapters is not None and adapters != told:
                        sequence += 1
                        yield pb.Report(sequence=sequence, adapters=adapters_message(adapters, told))
                        told = adapters
                for report in stream.new_reports():
                    sequence += 1
                    report.sequence = sequence
                    yield report
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(due_s):
                        await changed.wait()
        finally:
            for stop in stop_listening:
                stop()

    def _is_idle(self, load: pb.Load) -> bool:
        """Return whether only a request can change an engine's load, and its coming is told."""
        return self._when_work_comes is not None and not (load.running or load.waiting or load.gateways)

    def _load(self, gateway_id: str) -> pb.Load:
        stats = self._stats()
        return pb.Load(
            running=stats.running,
            waiting=stats.waiting,
            waiting_tokens=stats.waiting_tokens,
            kv_usage=stats.kv_usage,
            kv_capacity_tokens=stats.kv_capacity_tokens,
            prefill_tokens_per_s=stats.prefill_tokens_per_s,
            decode_tokens_per_s=stats.decode_tokens_per_s,
            accepted=self._accepted(gateway_id),
            step_tokens=stats.step_tokens,
            gateways=self._gateways(),
            speculation=speculation_message(stats.speculation),
            media=_media(stats.media),
            steps=step_message(stats.steps),
            tiers=tier_message(_tiers(stats.fetches, self._residency)),
        )

    async def _check_credential(self, context: "grpc.aio.ServicerContext[pb.WatchRequest, pb.Report]") -> None:
        metadata = dict(context.invocation_metadata() or ())
        shown = metadata.get("authorization", "")
        shown_bytes = shown if isinstance(shown, bytes) else shown.encode()
        if not hmac.compare_digest(shown_bytes, self._authorization):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the cluster's credential is missing or wrong")


class RankedTelemetry(pb_grpc.TelemetryServicer):
    """Streams the reports of a replica's data-parallel ranks, each as those of a replica of its own.

    Args:
        whole: reports of the whole replica, to a gateway that names no rank.
        ranks: reports of each rank.
    """

    def __init__(self, whole: TelemetryService, ranks: Sequence[TelemetryService]) -> None:
        self._whole = whole
        self._ranks = ranks

    async def Watch(  # noqa: N802 - the name in the .proto
        self, request: pb.WatchRequest, context: "grpc.aio.ServicerContext[pb.WatchRequest, pb.Report]"
    ) -> AsyncIterator[pb.Report]:
        """Stream reports until the gateway closes the stream."""
        service = self._whole
        if request.HasField("rank"):
            if request.rank >= len(self._ranks):
                await context.abort(grpc.StatusCode.NOT_FOUND, f"the replica has no rank {request.rank}")
            service = self._ranks[request.rank]
        async for report in service.Watch(request, context):
            yield report


def _tiers(fetches: FetchStats | None, residency: ReplicaResidency | None) -> TierReport | None:
    """Return what is kept beyond the device; what is held where is known only with residency."""
    if fetches is None:
        return None
    device, host, disk = (residency.held_tokens(medium) if residency is not None else 0 for medium in Medium)
    return TierReport(device, host, disk, fetches.fetched_tokens, fetches.s_per_token)


def _media(report: MediaReport) -> pb.Media | None:
    if report is NO_MEDIA:
        return None
    return pb.Media(fetched=report.fetched, fetched_bytes=report.fetched_bytes, refused=report.refused)


class _ResidencyStream:
    """The residency reports of one gateway's stream: knows which deltas it has sent."""

    def __init__(self, log: ResidencyLog | None) -> None:
        self._log = log
        self._sent: int | None = None

    def new_reports(self) -> Iterator[pb.Report]:
        """Yield reports of what was not sent yet, without their `sequence`: deltas, or a snapshot if some are gone."""
        log = self._log
        if log is None or self._sent == log.sequence:
            return
        deltas = log.since(self._sent) if self._sent is not None else None
        self._sent = log.sequence
        if deltas is None:
            for part in snapshot_messages(log.snapshot()):
                yield pb.Report(snapshot=part)
        else:
            for delta in deltas:
                yield pb.Report(delta=delta_message(delta))


class TelemetryServer:
    """Serves a replica's telemetry on a free port of one address.

    Attributes:
        port: the port; 0 before `start`.
    """

    def __init__(self, service: TelemetryService | RankedTelemetry, host: str) -> None:
        self.port = 0
        self._service = service
        self._host = f"[{host}]" if ":" in host else host
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Bind a free port and serve; sets `port`."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        pb_grpc.add_TelemetryServicer_to_server(self._service, self._server)  # type: ignore[no-untyped-call] # generated
        self.port = self._server.add_insecure_port(f"{self._host}:0")
        await self._server.start()

    async def stop(self) -> None:
        """End all streams and free the port."""
        if self._server is not None:
            await self._server.stop(grace=None)
