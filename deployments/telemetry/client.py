"""The gateway's side of telemetry: one stream from each replica, reopened when it breaks, has a gap or falls silent.

Beside the stream the gateway listens to the replica's pulse (`pulse.py`). Where there is none, reports come often
enough to say that the replica lives.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import inf
from typing import Final, cast

import grpc
import grpc.aio
import structlog

from deployments.telemetry import telemetry_pb2 as pb
from deployments.telemetry import telemetry_pb2_grpc as pb_grpc
from deployments.telemetry.adapter_messages import read_adapters
from deployments.telemetry.pulse import PulseListener
from deployments.telemetry.residency_messages import MalformedResidencyError, SnapshotReader, read_delta
from deployments.telemetry.speculation_messages import read_speculation
from deployments.telemetry.step_messages import read_steps
from deployments.telemetry.tier_messages import read_tiers
from router.prefix_cache.exact import ResidencyDelta
from router.prompt.cut import CUT_VERSION
from router.replicas.adapter_report import AdapterReport
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.replicas.media_report import NO_MEDIA, MediaReport

SILENT_S: Final = 0.8
"""Seconds without a report or a pulse after which a replica's load counts as unknown: twice their longest pause."""
STALE_S: Final = 3.0
"""Seconds without a report after which the stream itself is closed and reopened."""
SWEEP_S: Final = 0.1
"""Least seconds between two checks for silent replicas."""
PULSE_CONNECT_S: Final = 0.5
"""Seconds within which a replica's pulse is heard first; then the stream begins without it."""
FIRST_RETRY_S: Final = 0.05
"""Pause, in seconds, before a stream that worked is reopened; doubled for each attempt without a report."""
MAX_RETRY_S: Final = 1.0
"""Longest pause, in seconds, before a stream is reopened."""

_CHANNEL_OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0))

_log = structlog.get_logger("rackserve.telemetry")

OnReport = Callable[[str, LoadReport | None], None]
OnResidency = Callable[[str, ResidencyDelta], bool]
OnAdapters = Callable[[str, AdapterReport], None]


class _StreamBroken(Exception):  # noqa: N818 - ends one stream; not an error of RackServe
    """The stream cannot be used any more: it has a gap, or another replica answered."""


class _Watch:
    """The stream to one replica."""

    def __init__(  # noqa: PLR0913 - one callback for each kind of news
        self,
        endpoint: Endpoint,
        gateway_id: str,
        credential: str,
        on_report: OnReport,
        on_residency: OnResidency | None,
        *,
        on_adapters: OnAdapters,
    ) -> None:
        self.endpoint = endpoint
        self.with_residency = on_residency is not None
        self._on_residency = on_residency
        self._gateway_id = gateway_id
        self._credential = credential
        self._metadata = (("authorization", f"Bearer {credential}"),)
        self._on_report = on_report
        self._on_adapters = on_adapters
        self._adapters: AdapterReport | None = None  # of this stream
        self._loop = asyncio.get_running_loop()
        self._heard_s = self._reported_s = self._loop.time()
        self._pulse: PulseListener | None = None
        self._is_known = False
        self._last: LoadReport | None = None  # of this stream; kept when the replica falls silent
        self._was_refused = False
        self._call: grpc.aio.UnaryStreamCall[pb.WatchRequest, pb.Report] | None = None
        self._task = self._loop.create_task(self._run(), name=f"telemetry {endpoint.replica_id}")

    def sweep(self, now_s: float) -> float:
        """Check whether the replica has fallen silent, and return when the next check is due."""
        if self._is_known and now_s - self._heard_s > SILENT_S:
            self._forget()
        if self._call is not None and now_s - self._reported_s > STALE_S:
            self._call.cancel()
        return min(self._reported_s + STALE_S, self._heard_s + SILENT_S if self._is_known else inf)

    def stop(self) -> asyncio.Task[None]:
        """Close the stream; await the returned task to be sure."""
        self._task.cancel()
        return self._task

    async def _run(self) -> None:
        endpoint = self.endpoint
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        retry_s = FIRST_RETRY_S
        async with grpc.aio.insecure_channel(f"{host}:{endpoint.telemetry_port}", options=_CHANNEL_OPTIONS) as channel:
            stub = pb_grpc.TelemetryStub(channel)  # type: ignore[no-untyped-call] # generated
            while True:
                try:
                    request = pb.WatchRequest(
                        gateway_id=self._gateway_id,
                        residency=self.with_residency,
                        cut_version=CUT_VERSION,
                        hears_pulse=await self._listen(),
                        rank=endpoint.rank,
                    )
                    self._heard_s = self._reported_s = self._loop.time()
                    self._last = self._adapters = None
                    self._call = stub.Watch(request, metadata=self._metadata)
                    await self._follow(self._call)
                except (grpc.aio.AioRpcError, _StreamBroken, MalformedResidencyError) as error:
                    code = error.code() if isinstance(error, grpc.aio.AioRpcError) else str(error)
                    _log.debug("telemetry stream ended", replica=endpoint.replica_id, reason=str(code))
                    if code == grpc.StatusCode.UNAUTHENTICATED and not self._was_refused:
                        self._was_refused = True
                        _log.warning("a replica refuses this gateway's credential", replica=endpoint.replica_id)
                except asyncio.CancelledError:
                    task = asyncio.current_task()
                    if task is not None and task.cancelling():
                        raise  # by `stop`; otherwise the sweep cancelled a stale call
                finally:
                    if self._pulse is not None:
                        self._pulse.close()
                    if self._call is not None:
                        self._call.cancel()
                was_known = self._is_known
                self._forget()
                retry_s = FIRST_RETRY_S if was_known else min(retry_s * 2, MAX_RETRY_S)
                await asyncio.sleep(retry_s)

    async def _listen(self) -> bool:
        """Listen to the replica's pulse as long as the stream lives; return whether there is one."""
        endpoint, self._pulse = self.endpoint, None
        try:
            async with asyncio.timeout(PULSE_CONNECT_S):
                _, self._pulse = await self._loop.create_connection(
                    lambda: PulseListener(endpoint.host, self._credential, self._hear, self._break_stream),
                    endpoint.host,
                    endpoint.http_port,
                )
                await self._pulse.is_answered
        except (OSError, TimeoutError):
            pass  # not there, or too slow
        if self._pulse is not None and not self._pulse.is_heard:
            self._pulse.close()
            self._pulse = None
        return self._pulse is not None

    def _hear(self) -> None:
        self._heard_s = self._loop.time()
        if not self._is_known and self._last is not None:  # it was silent for a while
            self._know(self._last)

    def _break_stream(self) -> None:
        """End the stream, and with it what is known of the replica, as its pulse has ended; `_run` opens both anew."""
        if self._call is not None:
            self._call.cancel()

    async def _follow(self, call: "grpc.aio.UnaryStreamCall[pb.WatchRequest, pb.Report]") -> None:
        last = 0
        snapshot = SnapshotReader()
        async for report in call:
            self._heard_s = self._reported_s = self._loop.time()
            if report.sequence != last + 1:
                raise _StreamBroken(f"report {report.sequence} came after {last}")
            last = report.sequence
            body = cast("str | None", report.WhichOneof("body"))  # the generated type forgets None
            if body == "load":
                self._know(_load_report(report))
            elif body is None and self._last is not None:  # the replica lives, and its load is unchanged
                self._know(replace(self._last, sequence=report.sequence))
            elif body == "delta":
                self._apply(read_delta(report.delta))
            elif body == "snapshot":
                whole = snapshot.take(report.snapshot)
                if whole is not None:
                    self._apply(whole)
            elif body == "adapters":
                self._adapters = read_adapters(report.adapters, self._adapters)
                self._on_adapters(self.endpoint.replica_id, self._adapters)
            elif body == "hello":
                self._greeted(report.hello)

    def _greeted(self, hello: pb.Hello) -> None:
        if hello.replica_id != self.endpoint.replica_id:
            raise _StreamBroken(f"replica {hello.replica_id} answered")
        if self.with_residency and hello.cut_version != CUT_VERSION:
            _log.warning(
                "a replica cuts prompts differently, so its residency is not used",
                replica=hello.replica_id,
                ours=CUT_VERSION,
                theirs=hello.cut_version,
            )

    def _apply(self, delta: ResidencyDelta) -> None:
        """Pass a delta on; if it does not follow what is known, reopen the stream, which begins with a snapshot."""
        if self._on_residency is not None and not self._on_residency(self.endpoint.replica_id, delta):
            raise _StreamBroken(f"delta {delta.sequence} does not follow what is known")

    def _know(self, report: LoadReport) -> None:
        self._is_known, self._last = True, report
        self._on_report(self.endpoint.replica_id, report)

    def _forget(self) -> None:
        if self._is_known:
            self._is_known = False
            self._on_report(self.endpoint.replica_id, None)


class TelemetryClient:
    """Follows the telemetry of a changing set of replicas; used from one event loop.

    Args:
        gateway_id: this gateway's id.
        credential: the cluster's internal credential.
        on_report: called with a replica's id and each of its load reports, or None when its load becomes unknown.
        on_residency: called with a replica's id and each delta of its residency; returns False if it needs a snapshot.
        wants_residency: returns whether the gateway uses a replica's residency.
        on_adapters: called with a replica's id and each of its reports of adapters.
    """

    def __init__(  # noqa: PLR0913 - one callback for each kind of news
        self,
        gateway_id: str,
        credential: str,
        on_report: OnReport,
        on_residency: OnResidency | None = None,
        wants_residency: Callable[[Endpoint], bool] = lambda _: True,
        *,
        on_adapters: OnAdapters = lambda _replica, _report: None,
    ) -> None:
        self._gateway_id = gateway_id
        self._credential = credential
        self._on_report = on_report
        self._on_residency = on_residency
        self._wants_residency = wants_residency
        self._on_adapters = on_adapters
        self._watches: dict[str, _Watch] = {}
        self._sweeper: asyncio.Task[None] | None = None

    def follow(self, endpoints: Iterable[Endpoint]) -> None:
        """Watch exactly these replicas from now on, except those without a telemetry port."""
        wanted = {
            endpoint.replica_id: (endpoint, self._on_residency if self._wants_residency(endpoint) else None)
            for endpoint in endpoints
            if endpoint.telemetry_port
        }
        for replica_id, watch in list(self._watches.items()):
            endpoint, on_residency = wanted.get(replica_id, (None, None))
            if endpoint != watch.endpoint or (on_residency is not None) != watch.with_residency:
                self._watches.pop(replica_id).stop()
        for replica_id, (endpoint, on_residency) in wanted.items():
            if replica_id not in self._watches:
                self._watches[replica_id] = _Watch(
                    endpoint,
                    self._gateway_id,
                    self._credential,
                    self._on_report,
                    on_residency,
                    on_adapters=self._on_adapters,
                )
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep(), name="telemetry sweep")

    async def stop(self) -> None:
        """Close every stream."""
        tasks = [watch.stop() for watch in self._watches.values()]
        self._watches.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()
            tasks.append(self._sweeper)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _sweep(self) -> None:
        # A replica that is heard meanwhile is silent no sooner than `SILENT_S` from now.
        loop = asyncio.get_running_loop()
        while True:
            now_s = loop.time()
            due_s = min((watch.sweep(now_s) for watch in self._watches.values()), default=inf)
            await asyncio.sleep(min(max(due_s - now_s, SWEEP_S), SILENT_S))


def _load_report(report: pb.Report) -> LoadReport:
    load = report.load
    return LoadReport(
        sequence=report.sequence,
        running=load.running,
        waiting=load.waiting,
        waiting_tokens=load.waiting_tokens,
        kv_usage=load.kv_usage,
        kv_capacity_tokens=load.kv_capacity_tokens,
        prefill_tokens_per_s=load.prefill_tokens_per_s,
        decode_tokens_per_s=load.decode_tokens_per_s,
        accepted=load.accepted,
        step_tokens=load.step_tokens,
        gateways=load.gateways,
        speculation=read_speculation(load.speculation) if load.HasField("speculation") else None,
        media=_media_report(load.media) if load.HasField("media") else NO_MEDIA,
        tiers=read_tiers(load.tiers) if load.HasField("tiers") else None,
        steps=read_steps(load.steps) if load.HasField("steps") else None,
    )


def _media_report(media: pb.Media) -> MediaReport:
    return MediaReport(media.fetched, media.fetched_bytes, dict(media.refused))
