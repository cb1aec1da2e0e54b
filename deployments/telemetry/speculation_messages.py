"""Converts what speculative decoding brings to protobuf and back; pure."""

from deployments.telemetry import telemetry_pb2 as pb
from router.replicas.speculation_report import SpeculationReport


def speculation_message(report: SpeculationReport | None) -> pb.Speculation | None:
    """Return the message for a report; None: nothing is drafted."""
    if report is None:
        return None
    return pb.Speculation(
        drafts=report.drafts,
        draft_tokens=report.draft_tokens,
        accepted_by_position=report.accepted_by_position,
        tokens_per_step=report.tokens_per_step,
        speedup=report.speedup,
    )


def read_speculation(message: pb.Speculation) -> SpeculationReport:
    """Return the report in a message."""
    return SpeculationReport(
        drafts=message.drafts,
        draft_tokens=message.draft_tokens,
        accepted_by_position=tuple(message.accepted_by_position),
        tokens_per_step=message.tokens_per_step,
        speedup=message.speedup,
    )
