"""Telemetry of a simulated cluster: load reports and cache contents of replicas, as each gateway gets them."""

from typing import Final

from deployments.twin.gateways import Gateways
from deployments.twin.member import Stage, TwinReplica
from deployments.twin.request_flow import RequestFlow
from router.replicas.adapter_report import AdapterReport

PHASES: Final = 8
"""Parts into which the replicas are divided: they report one part after the other within `report_every_s`."""


class TwinTelemetry:
    """Has replicas report. An idle replica says so once, and is quiet until it gets a request.

    Args:
        gateways: the gateways.
        flow: sends waiting requests where a report shows room.
        report_every_s: seconds between two reports of a busy replica.

    Attributes:
        every_s: seconds between two calls of `report`.
    """

    def __init__(self, gateways: Gateways, flow: RequestFlow, report_every_s: float) -> None:
        self.every_s = report_every_s / PHASES
        self._gateways = gateways
        self._flow = flow
        self._phase = 0
        self._bins: list[list[TwinReplica]] = [[] for _ in range(PHASES)]

    def joined(self, member: TwinReplica, *, tells_cache: bool) -> None:
        """Begin with a replica that is ready and that all gateways know of."""
        self._bins[member.number % PHASES].append(member)
        if tells_cache:
            snapshot = member.engine.kv.snapshot()
            for row in self._gateways.rows:
                row[member.model].dispatcher.apply_residency(member.name, snapshot)
        self.tell_adapters(member)

    def report(self, now_s: float) -> None:
        """Have one part of the replicas report to all gateways."""
        phase = self._phase
        self._phase = (phase + 1) % PHASES
        rows = self._gateways.rows
        members = self._bins[phase]
        if any(each.stage is Stage.GONE for each in members):
            members = self._bins[phase] = [each for each in members if each.stage is not Stage.GONE]
        for member in members:
            if member.is_quiet or member.stage is not Stage.READY:
                continue
            model, name = member.model, member.name
            reports = member.engine.reports(now_s, member.accepted)
            delta = member.engine.kv.delta()
            tells_cache = delta is not None and self._gateways.reads_prompts[model]
            for row, report in zip(rows, reports, strict=True):
                dispatcher = row[model].dispatcher
                dispatcher.report(name, report, now_s)
                if delta is not None and tells_cache and not dispatcher.apply_residency(name, delta):
                    raise AssertionError("a delta was lost, though none ever is")
            self.tell_adapters(member)
            member.is_quiet = member.engine.is_idle
        for row in rows:
            for each in row:
                if not phase:
                    each.dispatcher.tick(now_s)
                    self._flow.tell_refused(each, now_s)
                if each.waiting:
                    self._flow.dispatch(each, now_s)

    def tell_adapters(self, member: TwinReplica) -> None:
        """Tell all gateways which adapters a replica has loaded."""
        own = member.engine.adapters
        if own is None:
            return
        report = AdapterReport(own.known, own.held, own.slots, own.load_s, own.loads)
        for row in self._gateways.rows:
            replica = row[member.model].dispatcher.fleet.replicas.get(member.name)
            if replica is not None:
                replica.adapters.reported(report)
