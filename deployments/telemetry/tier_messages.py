"""Converts what a replica keeps beyond its device to protobuf and back; pure."""

from deployments.telemetry import telemetry_pb2 as pb
from router.replicas.tier_report import TierReport


def tier_message(report: TierReport | None) -> pb.Tiers | None:
    """Return the message for a report; None: nothing is kept beyond the device."""
    if report is None:
        return None
    return pb.Tiers(
        device_tokens=report.device_tokens,
        host_tokens=report.host_tokens,
        disk_tokens=report.disk_tokens,
        fetched_tokens=report.fetched_tokens,
        fetch_s_per_token=report.fetch_s_per_token,
    )


def read_tiers(message: pb.Tiers) -> TierReport:
    """Return the report in a message."""
    return TierReport(
        device_tokens=message.device_tokens,
        host_tokens=message.host_tokens,
        disk_tokens=message.disk_tokens,
        fetched_tokens=message.fetched_tokens,
        fetch_s_per_token=message.fetch_s_per_token,
    )
