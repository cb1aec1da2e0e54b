"""Adapters on the wire: a replica's report of its LoRA adapters as messages, and back."""

from deployments.telemetry import telemetry_pb2 as pb
from router.replicas.adapter_report import AdapterReport


def adapters_message(report: AdapterReport, before: AdapterReport | None) -> pb.Adapters:
    """Return a report as a message; the names only where they differ from the one that the stream sent before."""
    message = pb.Adapters(held=report.held, slots=report.slots, load_s=report.load_s, loads=report.loads)
    if before is None or (before.known, before.problems) != (report.known, report.problems):
        message.names.CopyFrom(pb.AdapterNames(known=sorted(report.known), problems=dict(report.problems)))
    return message


def read_adapters(message: pb.Adapters, before: AdapterReport | None) -> AdapterReport:
    """Return the report in a message, with the names of the one before where it has none."""
    if message.HasField("names"):
        known, problems = frozenset(message.names.known), dict(message.names.problems)
    else:
        known = before.known if before is not None else frozenset()
        problems = dict(before.problems) if before is not None else {}
    return AdapterReport(
        known, tuple(message.held), message.slots, load_s=message.load_s, loads=message.loads, problems=problems
    )
